// The place where messages are written: the text, pictures with it, and the buttons around. An earlier message is edited here
// as well, with all that can be done to a new one.

import { announce } from './announcer.js';
import { button, byId, el, freshId } from './dom.js';
import { picturesIn, pictureOf, tokensOf } from './pictures.js';
import { words } from './strings.js';

/** Fingers have no Shift: there, Enter begins a line. */
const isTouched = () => matchMedia('(pointer: coarse)').matches;

export class Composer {
  /** `actions`: `send(text, pictures, edited)`, `stop()`, `tell(text)`, `think(choice)`. */
  constructor(actions) {
    this.actions = actions;
    this.field = byId('message');
    this.list = byId('pictures');
    this.pictures = [];
    this.edited = null;
    this.canSee = true;
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    byId('stop').addEventListener('click', () => {
      actions.stop();
      this.focus();
    });
    byId('cancel-edit').addEventListener('click', () => this.endEdit());
    byId('add-pictures').addEventListener('click', () => {
      if (this.canSee) byId('picture-files').click();
      else actions.tell(words.noVision);
    });
    byId('picture-files').addEventListener('change', ({ target }) => {
      this.add([...target.files]);
      target.value = '';
    });
    byId('think').addEventListener('change', ({ target }) => actions.think(target.value));
    this.field.addEventListener('input', () => this.grow());
    this.field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || isTouched()) return;
      event.preventDefault();
      this.submit();
    });
    this.field.addEventListener('paste', (event) => {
      const files = picturesIn(event.clipboardData);
      if (files.length === 0) return;
      event.preventDefault();
      this.add(files);
    });
    this.takeDrops();
  }

  takeDrops() {
    const sheet = byId('drop');
    const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
    document.addEventListener('dragover', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      sheet.hidden = false;
    });
    document.addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) sheet.hidden = true;
    });
    document.addEventListener('drop', (event) => {
      sheet.hidden = true;
      if (!hasFiles(event)) return;
      event.preventDefault();
      const files = picturesIn(event.dataTransfer);
      if (files.length > 0) this.add(files);
      else this.actions.tell(words.noPicture(event.dataTransfer.files[0]?.name ?? ''));
    });
  }

  /** Takes pictures to be sent with the message. */
  async add(files) {
    if (!this.canSee) {
      this.actions.tell(words.noVision);
      return;
    }
    for (const file of files) {
      try {
        this.pictures.push({ id: freshId(), ...(await pictureOf(file)) });
      } catch {
        this.actions.tell(words.noPicture(file.name));
      }
    }
    this.showPictures();
    this.focus();
  }

  showPictures() {
    this.list.hidden = this.pictures.length === 0;
    this.list.replaceChildren(...this.pictures.map((picture, i) => {
      const { url, width, height } = picture;
      const caption = width && height ? words.pictureCost(width, height, tokensOf(width, height)) : '';
      const remove = button(words.removePicture(i + 1), 'close', () => {
        this.pictures.splice(this.pictures.indexOf(picture), 1);
        this.showPictures();
        this.focus();
      }, { class: 'round' });
      return el('li', {}, el('img', { src: url, alt: words.shownPicture(i + 1) }), el('span', {}, caption), remove);
    }));
  }

  submit() {
    const text = this.field.value.trim();
    if ((text === '' && this.pictures.length === 0) || this.isBusy) return;
    const { pictures, edited } = this;
    this.empty();
    this.actions.send(text, pictures, edited);
    this.focus();
  }

  empty() {
    this.field.value = this.draft?.text ?? '';
    this.pictures = this.draft?.pictures ?? [];
    this.draft = null;
    this.edited = null;
    byId('editing').hidden = true;
    byId('send').setAttribute('aria-label', words.send);
    byId('send').title = words.send;
    this.showPictures();
    this.grow();
  }

  /** Takes a message to be sent anew in another form; what was being written comes back afterwards. */
  edit(message, pictures) {
    this.draft ??= { text: this.field.value, pictures: this.pictures };
    this.edited = message;
    this.field.value = message.text;
    this.pictures = pictures;
    byId('editing').hidden = false;
    byId('send').setAttribute('aria-label', words.sendEdited);
    byId('send').title = words.sendEdited;
    this.showPictures();
    this.grow();
    this.field.focus();
    announce(words.editMessage);
  }

  /** Leaves the message as it was. Whether there was one. */
  endEdit() {
    if (!this.edited) return false;
    this.empty();
    this.focus();
    return true;
  }

  /** Has the field be as high as what is in it, within limits. */
  grow() {
    this.field.style.height = 'auto';
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  /** Goes on with writing; where that would bring a keyboard over the page, only when it is asked for. */
  focus() {
    if (!isTouched()) this.field.focus({ preventScroll: true });
  }

  /** Whether an answer is being written in this chat. */
  setBusy(isBusy) {
    const hadFocus = [byId('send'), byId('stop')].includes(document.activeElement);
    this.isBusy = isBusy;
    byId('send').hidden = isBusy;
    byId('stop').hidden = !isBusy;
    if (hadFocus) (isTouched() ? byId(isBusy ? 'stop' : 'send') : this.field).focus();
  }

  setVision(canSee) {
    this.canSee = canSee;
    byId('add-pictures').classList.toggle('is-off', !canSee);
    byId('add-pictures').title = canSee ? words.addPictures : words.noVision;
  }

  /** Shows how many tokens of the context are taken. */
  setContext(used, most) {
    byId('context').hidden = !used || !most;
    if (!used || !most) return;
    const bar = byId('context-bar');
    byId('context-text').textContent = words.contextShort(used, most);
    bar.setAttribute('aria-valuenow', String(used));
    bar.setAttribute('aria-valuemax', String(most));
    bar.setAttribute('aria-valuetext', words.contextOf(used, most));
    byId('context').title = words.contextOf(used, most);
    bar.firstElementChild.style.width = `${Math.min(100, (100 * used) / most)}%`;
    bar.classList.toggle('is-full', used > 0.9 * most);
  }
}
