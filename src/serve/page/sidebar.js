// The list of chats: choosing, searching, and on narrow screens coming and going.

import { byId, el } from './dom.js';
import { words } from './strings.js';

/** Time between the last key and the search. */
const PAUSE_MS = 120;

const isNarrow = matchMedia('(max-width: 54rem)');

export class Sidebar {
  /** `actions`: `open(id)`, `begin()`; `store` is searched. */
  constructor(actions, store) {
    this.actions = actions;
    this.store = store;
    this.element = byId('sidebar');
    this.field = byId('search');
    byId('new-chat').addEventListener('click', () => {
      this.close();
      actions.begin();
    });
    byId('show-chats').addEventListener('click', () => this.open());
    byId('hide-chats').addEventListener('click', () => this.close(true));
    byId('shade').addEventListener('click', () => this.close());
    this.field.addEventListener('input', () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.show(this.current), PAUSE_MS);
    });
    isNarrow.addEventListener('change', () => this.close());
    this.close();
  }

  get isOpen() {
    return this.element.classList.contains('is-open');
  }

  /** On a narrow screen, shows the list over the chat. */
  open() {
    this.element.classList.add('is-open');
    this.element.inert = false;
    byId('shade').hidden = false;
    byId('hide-chats').focus();
  }

  close(takesFocus = false) {
    this.element.classList.remove('is-open');
    this.element.inert = isNarrow.matches;
    byId('shade').hidden = true;
    if (takesFocus) byId('show-chats').focus();
  }

  /** Shows the chats that are kept; the one that is open has this id. */
  async show(current) {
    this.current = current;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const query = this.field.value.trim();
    const [chats, found] = await Promise.all([this.store.chats(), query ? this.store.search(query) : null]);
    if (turn !== this.turn) return;
    const shown = chats.filter(({ id }) => !found || found.has(id));
    const list = byId('chat-list');
    const focused = list.contains(document.activeElement) && document.activeElement.dataset.id;
    list.replaceChildren(...shown.map(({ id, title }) => el('li', {}, el('button', {
      type: 'button',
      'data-id': id,
      'aria-current': id === this.current ? 'page' : null,
      onclick: () => {
        this.close();
        this.actions.open(id);
      },
    }, title || words.untitled))));
    if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    byId('no-chats').hidden = shown.length > 0;
    byId('no-chats').textContent = query ? words.nothingFound : words.noChats;
  }
}
