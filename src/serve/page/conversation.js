// The messages of a chat as they are seen, and what can be done with each. A message keeps its elements for as long as it is
// on the way to the leaf, so that the focus, a selection and what is unfolded stay where they are while others change.

import { codeBlock, copyButton } from './code.js';
import { button, byId, el } from './dom.js';
import { MarkdownView } from './markdown.js';
import { words } from './strings.js';
import { families } from './tree.js';

/** Ends after which an answer can go on. */
const UNFINISHED = ['length', 'stopped', 'repetition', 'shutdown', 'broken', 'left'];

/** Pixels from the end within which the end is followed. */
const NEAR = 80;

/** One message. */
class MessageView {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    const name = { user: words.you, assistant: words.model, tool: words.toolResult() }[message.role];
    this.element = el('article', { class: `message of-${message.role}`, 'aria-label': name });
    this.shown = new Map();
    if (message.role === 'assistant') this.buildAnswer();
    else this.buildText();
    this.buttons = el('div', { class: 'buttons' });
    this.element.append(this.buttons);
  }

  buildText() {
    const { text, pictures = [], role } = this.message;
    const bubble = el('div', { class: 'bubble' });
    if (role === 'tool') bubble.append(el('p', { class: 'caption' }, words.toolResult(this.message.callName)));
    if (pictures.length > 0) bubble.append(this.pictureList(pictures));
    if (text) bubble.append(el('p', { class: 'text' }, text));
    this.element.append(bubble);
  }

  pictureList(pictures) {
    const list = el('ul', { class: 'shown-pictures' });
    pictures.forEach(async ({ id, width, height }, i) => {
      const image = el('img', { alt: words.shownPicture(i + 1), width, height });
      const item = el('li', {}, image);
      list.append(item);
      const url = await this.actions.pictureOf(id);
      if (url) image.src = url;
      else item.replaceChildren(words.lostPicture);
    });
    return list;
  }

  buildAnswer() {
    this.thinking = el('p', { class: 'text' });
    this.summary = el('summary');
    this.fold = el('details', { class: 'thinking', hidden: true }, this.summary, this.thinking);
    this.markdown = new MarkdownView({ code: codeBlock });
    this.calls = el('div', { class: 'calls' });
    this.edge = el('div', { class: 'edge', hidden: true }, el('span'));
    this.status = el('p', { class: 'status', hidden: true });
    this.element.append(this.edge, this.fold, this.markdown.element, this.calls, this.status);
  }

  /** Whether `value` under this name is another than the last time. */
  isNew(name, value) {
    const text = JSON.stringify(value) ?? '';
    const isNew = this.shown.get(name) !== text;
    this.shown.set(name, text);
    return isNew;
  }

  /** Shows the message as it is, in the making if there is a run of it. */
  update({ versions, path, run, isBusy, isLast, isOpen }) {
    const { message } = this;
    this.run = run;
    const at = versions.indexOf(message);
    if (message.role === 'assistant') {
      this.paint();
      const results = path.filter(({ role }) => role === 'tool').map(({ call }) => call);
      const wanted = isOpen && !isBusy ? (message.calls ?? []).filter(({ id }) => !results.includes(id)) : [];
      this.showCalls(wanted);
    }
    const { end, fault, stats, text } = message;
    const state = [versions.length, at, isBusy, isLast, end, fault, stats, text !== ''];
    if (this.isNew('buttons', state)) this.showButtons({ versions, at, isBusy, isLast });
  }

  /** Shows what grows while an answer is written. */
  paint() {
    const { message, run } = this;
    if (message.thinking) this.showThinking();
    this.markdown.show(message.text);
    this.showStatus(run);
  }

  showThinking() {
    const { message, run } = this;
    this.fold.hidden = false;
    if (this.thinking.textContent !== message.thinking) this.thinking.textContent = message.thinking.trim();
    const isGoingOn = run?.answer.phase === 'thinking';
    const { thinkingMs } = message;
    const title = isGoingOn ? words.thinking : thinkingMs === undefined ? words.thought : words.thoughtFor(thinkingMs);
    if (this.summary.textContent !== title) this.summary.textContent = title;
  }

  showStatus(run) {
    const answer = run?.answer;
    this.edge.hidden = !answer;
    this.status.hidden = !answer && !this.ending();
    this.element.classList.toggle('is-running', Boolean(answer));
    this.status.classList.toggle('fault', !answer && ['failed', 'broken'].includes(this.message.end));
    this.status.textContent = answer ? this.progress(answer) : this.ending();
  }

  progress(answer) {
    const { phase, reading, rate } = answer;
    const share = phase === 'reading' && reading ? reading.done / Math.max(reading.total, 1) : phase === 'waiting' ? 0 : 1;
    this.edge.firstChild.style.height = `${Math.round(100 * share)}%`;
    this.edge.classList.toggle('is-busy', phase !== 'reading');
    if (phase === 'waiting') return words.waiting;
    if (phase === 'reading') return words.reading(reading?.done ?? 0, reading?.total ?? 1);
    const name = phase === 'thinking' ? words.thinking : words.writing;
    return rate === null ? name : `${name}, ${words.rateNow(rate)}`;
  }

  /** Why the answer ended, where that is worth saying. */
  ending() {
    const { end = 'left', fault } = this.message;
    return fault ?? (Object.hasOwn(words.ended, end) ? words.ended[end] : '');
  }

  /** Shows the calls; a result is asked for of those in `wanted`. */
  showCalls(wanted) {
    if (!this.isNew('calls', [this.message.calls, wanted])) return;
    this.calls.replaceChildren(...(this.message.calls ?? []).map((call) => {
      const card = el('section', { class: 'call', 'aria-label': words.call(call.name) },
        el('p', { class: 'caption' }, words.call(call.name)),
        el('pre', { tabindex: '0', role: 'group', 'aria-label': words.call(call.name) }, pretty(call.arguments)));
      if (wanted.includes(call)) card.append(this.resultForm(call));
      return card;
    }));
  }

  resultForm(call) {
    const field = el('textarea', { rows: '2', 'aria-label': words.callResult(call.name), placeholder: words.callResult(call.name) });
    const send = button(words.sendResult, null, () => this.actions.giveResult(this.message, call, field.value),
      { shown: true, class: 'wide-button' });
    return el('div', { class: 'result' }, field, send);
  }

  showButtons({ versions, at, isBusy, isLast }) {
    const { message, actions } = this;
    const isAnswer = message.role === 'assistant';
    const buttons = [];
    if (versions.length > 1) buttons.push(this.versionButtons(versions, at));
    if (message.text && !this.run) buttons.push(copyButton(words.copy, () => message.text));
    if (message.role === 'user' && !isBusy) buttons.push(button(words.edit, 'edit', () => actions.edit(message)));
    if (isAnswer && !isBusy) {
      const name = message.fault ? words.tryAgain : words.regenerate;
      buttons.push(button(name, 'again', () => actions.regenerate(message), { shown: Boolean(message.fault) }));
      const isCut = UNFINISHED.includes(message.end) || message.end === undefined;
      if (isLast && isCut && message.text && !message.calls?.length) {
        buttons.push(button(words.goOn, 'onward', () => actions.goOn(message), { shown: true }));
      }
    }
    if (isAnswer && !this.run && message.stats) buttons.push(this.statsLine(message.stats));
    const focused = this.buttons.contains(document.activeElement) && document.activeElement.getAttribute('aria-label');
    this.buttons.replaceChildren(...buttons);
    if (focused) this.buttons.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  statsLine(stats) {
    return el('details', { class: 'stats' }, el('summary', {}, words.stats(stats)), el('p', {}, words.statsOfPrompt(stats)));
  }

  versionButtons(versions, at) {
    const { actions } = this;
    const previous = button(words.previous, 'left', () => actions.showVersion(versions[at - 1]), { disabled: at === 0 });
    const next = button(words.next, 'right', () => actions.showVersion(versions[at + 1]), { disabled: at + 1 === versions.length });
    const count = el('span', { role: 'img', 'aria-label': words.version(at + 1, versions.length) },
      words.versionShort(at + 1, versions.length));
    return el('span', { class: 'versions' }, previous, count, next);
  }
}

/** JSON with lines, if it is JSON. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** All messages. */
export class ConversationView {
  /**
   * `actions`: `edit`, `regenerate`, `goOn` and `showVersion` of a message, `giveResult` of a call, `pictureOf` an id.
   */
  constructor(actions) {
    this.actions = actions;
    this.place = byId('messages');
    this.scroller = byId('conversation');
    this.toEnd = byId('to-end');
    this.views = new Map();
    this.isAtEnd = true;
    this.scroller.addEventListener('scroll', () => this.watchEnd(), { passive: true });
    // A picture has its size when it is there.
    this.place.addEventListener('load', () => this.follow(), true);
    new ResizeObserver(() => this.follow()).observe(this.scroller);
    this.toEnd.addEventListener('click', () => {
      this.goToEnd();
      this.scroller.focus({ preventScroll: true });
    });
  }

  /** Shows these messages; `run` is what is being written, if anything is. */
  show({ messages, path, run }) {
    byId('greeting').hidden = path.length > 0;
    const views = new Map(path.map((message) => {
      const known = this.views.get(message.id);
      return [message.id, known?.message === message ? known : new MessageView(message, this.actions)];
    }));
    for (const [id, view] of this.views) if (views.get(id) !== view) view.element.remove();
    this.views = views;
    const open = path.findLastIndex(({ role }) => role !== 'tool');
    const all = families(messages);
    path.forEach((message, i) => {
      const view = views.get(message.id);
      if (this.place.children[i] !== view.element) this.place.insertBefore(view.element, this.place.children[i] ?? null);
      view.update({
        versions: all.get(message.parent ?? null), path, run: run?.message === message ? run : null, isBusy: Boolean(run),
        isLast: i + 1 === path.length, isOpen: i === open,
      });
    });
    this.follow();
  }

  /** Shows what has come since. */
  paint(run) {
    const view = this.views.get(run.message.id);
    if (!view || view.message !== run.message) return;
    view.run = run;
    view.paint();
    view.showCalls([]);
    this.follow();
  }

  watchEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.isAtEnd = scrollHeight - clientHeight - scrollTop < NEAR;
    this.toEnd.hidden = this.isAtEnd;
  }

  /** Stays at the end if that is where the reader is. */
  follow() {
    if (this.isAtEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.watchEnd();
  }

  goToEnd() {
    this.isAtEnd = true;
    this.follow();
  }
}
