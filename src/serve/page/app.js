// The page: which chat is open, and what happens when somebody does something. What is seen is in the views, what is kept in the
// store, what is said by the server in the writer.

import { announce } from './announcer.js';
import { Composer } from './composer.js';
import { ConversationView } from './conversation.js';
import { askDelete, askSettings, askTitle } from './dialogs.js';
import { button, byId, freshId, icon, saveFile } from './dom.js';
import { Server } from './server.js';
import { Sidebar } from './sidebar.js';
import { Store } from './store.js';
import { fillIn, words } from './strings.js';
import { chatsIn, fileName, toJson, toMarkdown } from './transfer.js';
import { leafBelow, nextTime, pathTo, titleOf } from './tree.js';
import { Writer } from './writer.js';

/** Time for which a short note is seen. */
const TOAST_MS = 4000;

/** Bytes of a file that is imported, at most. */
const LARGEST_IMPORT = 512 << 20;

const THINKING = { auto: undefined, on: true, off: false };

class App {
  async start() {
    fillIn(document);
    for (const element of document.querySelectorAll('[data-icon]')) element.prepend(icon(element.dataset.icon));
    this.store = await Store.open();
    this.settings = (await this.store.setting('sampling')) ?? {};
    this.server = new Server({
      notice: (text, note, action) => this.notice(text, note, action),
      onModels: () => this.learnModel(),
    });
    this.writer = new Writer({
      store: this.store,
      ready: async () => {
        await this.server.connect();
        return this.model?.id;
      },
      onPaint: (chat, run) => {
        if (chat.id === this.chat.id) this.view.paint(run);
      },
      onChange: (chat) => {
        if (chat.id === this.chat.id) this.show();
        // A model that was loaded for an answer has a context now.
        if (this.model && !this.model.context && !this.writer.runOf(chat)) this.learnModel();
      },
      onFault: (fault) => this.takeFault(fault),
    });
    this.view = new ConversationView({
      edit: (message) => this.edit(message),
      regenerate: (message) => this.regenerate(message),
      goOn: (message) => this.write(message, true),
      showVersion: (message) => this.showVersion(message),
      giveResult: (message, call, text) => this.giveResult(message, call, text),
      pictureOf: (id) => this.store.picture(id),
    });
    this.composer = new Composer({
      send: (text, pictures, edited) => this.send(text, pictures, edited),
      stop: () => this.writer.stop(this.chat),
      tell: (text) => this.toast(text),
      think: (choice) => this.setSettings({ thinking: THINKING[choice] }),
    });
    this.sidebar = new Sidebar({ open: (id) => this.open(id), begin: () => this.begin() }, this.store);
    this.listen();
    this.showThinking();
    if (!this.store.isLasting) this.toast(words.kept);
    await this.open(location.hash.slice(1));
    this.server.connect();
  }

  listen() {
    byId('open-settings').addEventListener('click', () => this.openSettings());
    byId('rename').addEventListener('click', () => this.rename());
    byId('delete').addEventListener('click', () => this.remove());
    byId('export-markdown').addEventListener('click', () => this.exportMarkdown());
    byId('export-json').addEventListener('click', () => this.exportJson([this.chat], fileName(this.chat.title, 'json')));
    byId('export-all').addEventListener('click', async () => {
      const day = new Date().toISOString().slice(0, 10);
      this.exportJson(await this.store.chats(), `qwen-edge-chats-${day}.json`);
    });
    byId('import').addEventListener('click', () => byId('import-file').click());
    byId('import-file').addEventListener('change', async ({ target }) => {
      const [file] = target.files;
      if (file) await this.importFile(file);
      target.value = '';
    });
    byId('model-choice').addEventListener('change', ({ target }) => {
      this.setSettings({ model: target.value });
      this.learnModel();
    });
    this.listenToMenu();
    document.addEventListener('keydown', (event) => {
      // Elsewhere the key has a meaning of its own.
      const isTaken = event.isComposing || document.querySelector('dialog[open]') || (event.target.type === 'search' && event.target.value);
      if (event.key === 'Escape' && !isTaken) this.escape();
    });
    addEventListener('hashchange', () => this.open(location.hash.slice(1)));
    document.addEventListener('visibilitychange', () => {
      // A page that is not seen may go without a word.
      if (document.hidden) this.writer.keepAll();
      else this.comeBack();
    });
    addEventListener('pagehide', () => this.writer.keepAll());
  }

  listenToMenu() {
    const [opener, list] = [byId('actions'), byId('action-list')];
    const set = (isOpen) => {
      list.hidden = !isOpen;
      opener.setAttribute('aria-expanded', String(isOpen));
    };
    this.closeMenu = () => {
      const wasOpen = !list.hidden;
      if (list.contains(document.activeElement)) opener.focus();
      set(false);
      return wasOpen;
    };
    opener.addEventListener('click', () => set(list.hidden));
    list.addEventListener('click', this.closeMenu);
    document.addEventListener('click', ({ target }) => {
      if (!target.closest('.menu')) set(false);
    });
  }

  /** Leaves what is nearest: a menu, the list of chats, an edit; else stops the answer. */
  escape() {
    if (this.closeMenu()) return;
    if (this.sidebar.isOpen) this.sidebar.close(true);
    else if (!this.composer.endEdit()) this.writer.stop(this.chat);
  }

  // ---- The chat that is open ----

  /** The chosen model, the first one unless another was chosen. */
  get model() {
    const { models } = this.server;
    return models.find(({ id }) => id === this.settings.model) ?? models[0];
  }

  get path() {
    return pathTo(this.messages, this.chat.leaf);
  }

  /** Opens a chat that is kept, or begins one. */
  async open(id) {
    if (id && id === this.chat?.id) return;
    const chat = id ? await this.store.chat(id) : undefined;
    if (!chat) {
      this.begin();
      return;
    }
    this.composer.endEdit();
    this.chat = chat;
    this.messages = this.writer.messagesOf(id) ?? (await this.store.messages(id));
    if (location.hash !== `#${id}`) history.pushState(null, '', `#${id}`);
    this.view.isAtEnd = true;
    this.show();
    this.composer.focus();
  }

  /** Takes what was written meanwhile in other tabs. */
  async comeBack() {
    const { chat } = this;
    const kept = await this.store.chat(chat.id);
    const messages = kept?.updated > chat.updated ? await this.store.messages(chat.id) : null;
    if (this.chat !== chat || this.writer.runOf(chat)) return;
    if (messages) Object.assign(this, { chat: kept, messages });
    this.show();
  }

  /** Begins a chat. It is kept when something is said in it. */
  begin() {
    const now = Date.now();
    this.chat = { id: freshId(), title: '', system: '', tools: '', created: now, updated: now, leaf: null };
    this.messages = new Map();
    if (location.hash) history.pushState(null, '', location.pathname);
    this.show();
    this.composer.endEdit();
    this.composer.focus();
  }

  show() {
    const { chat, messages, path } = this;
    const run = this.writer.runOf(chat);
    const title = chat.title || words.untitled;
    byId('title').textContent = title;
    document.title = chat.title ? `${title} · qwen-edge` : 'qwen-edge';
    for (const id of ['rename', 'export-markdown', 'export-json', 'delete']) byId(id).disabled = path.length === 0;
    this.view.show({ messages, path, run });
    this.composer.setBusy(Boolean(run) || this.preparing === chat.id);
    this.composer.setContext(path.findLast((message) => message.stats)?.stats.total, this.model?.context);
    this.sidebar.show(chat.id);
  }

  /** Shows the chosen model, and what is to be known of it as soon as it is. */
  async learnModel() {
    this.showModel();
    if (!this.model) return;
    await this.server.learn(this.model);
    this.showModel();
  }

  showModel() {
    const { models } = this.server;
    const choice = byId('model-choice');
    const isChoice = models.length > 1;
    choice.replaceChildren(...(isChoice ? models : []).map(({ id }) => new Option(id, id)));
    choice.value = this.model?.id ?? '';
    choice.hidden = !isChoice;
    byId('model-name').hidden = isChoice;
    byId('model-name').textContent = this.model?.id ?? '';
    this.composer.setVision(this.model?.canSee ?? false);
    this.show();
  }

  showThinking() {
    const { thinking } = this.settings;
    byId('think').value = Object.keys(THINKING).find((choice) => THINKING[choice] === thinking);
  }

  async setSettings(changes) {
    this.settings = { ...this.settings, ...changes };
    await this.keep(() => this.store.putSetting('sampling', this.settings));
  }

  /** Keeps something; says so where the browser has no room. */
  async keep(put) {
    try {
      await put();
    } catch {
      this.toast(words.full);
    }
  }

  async keepChat() {
    this.chat.updated = Date.now();
    if (location.hash !== `#${this.chat.id}`) history.replaceState(null, '', `#${this.chat.id}`);
    await this.keep(() => this.store.putChat(this.chat));
  }

  // ---- Messages ----

  /** Adds a message behind another one; it is the leaf then. */
  async add(message) {
    const whole = { id: freshId(), chat: this.chat.id, at: nextTime(this.messages), text: '', ...message };
    this.messages.set(whole.id, whole);
    this.chat.leaf = whole.id;
    await this.keep(() => this.store.putMessage(whole));
    await this.keepChat();
    return whole;
  }

  /** Sends a message: at the end, or in place of one that was edited. */
  async send(text, pictures, edited) {
    const parent = edited ? (edited.parent ?? null) : this.chat.leaf;
    const { chat } = this;
    this.prepare();
    if (!chat.title) chat.title = titleOf(text) || words.shownPicture(1);
    const kept = pictures.map(({ width, height }) => ({ id: freshId(), width, height }));
    for (const [i, { id }] of kept.entries()) await this.keep(() => this.store.putPicture(id, chat.id, pictures[i].url));
    await this.add({ role: 'user', parent, text, pictures: kept });
    this.view.goToEnd();
    await this.answer();
  }

  /** Nothing else can be asked from here on until the answer is being written. */
  prepare() {
    this.preparing = this.chat.id;
    this.composer.setBusy(true);
  }

  async edit(message) {
    if (this.writer.runOf(this.chat)) return;
    const pictures = [];
    for (const picture of message.pictures ?? []) {
      const url = await this.store.picture(picture.id);
      if (url) pictures.push({ ...picture, url });
    }
    this.composer.edit(message, pictures);
  }

  /** Has the model answer to the leaf. */
  async answer() {
    const message = await this.add({ role: 'assistant', parent: this.chat.leaf });
    await this.write(message, false);
  }

  /** Has the model write another answer in place of this one. */
  async regenerate(message) {
    if (this.writer.runOf(this.chat)) return;
    this.prepare();
    this.chat.leaf = message.parent;
    this.composer.focus();
    await this.answer();
  }

  /** Has the model write this message, or go on with it. */
  async write(message, goesOn) {
    const { chat, messages } = this;
    this.preparing = null;
    if (this.writer.runOf(chat)) return;
    const path = pathTo(messages, message.id);
    this.composer.focus();
    await this.writer.write({
      chat, messages, message, path: goesOn ? path : path.slice(0, -1), settings: this.settings,
      isSeen: () => this.chat.id === chat.id && this.path.includes(message),
    });
  }

  async showVersion(message) {
    this.chat.leaf = leafBelow(this.messages, message.id);
    await this.keep(() => this.store.putChat(this.chat));
    this.show();
    announce(message.text.slice(0, 200));
  }

  /** Takes the result of a call; when all calls of the message have theirs, the model goes on. */
  async giveResult(message, call, text) {
    this.prepare();
    await this.add({ role: 'tool', parent: this.chat.leaf, text, call: call.id, callName: call.name });
    const given = new Set(this.path.filter(({ role }) => role === 'tool').map((result) => result.call));
    if (message.calls.every(({ id }) => given.has(id))) {
      await this.answer();
      return;
    }
    this.preparing = null;
    this.show();
  }

  /** Does what can be done about a fault. Whether to try again. */
  async takeFault(fault) {
    if (fault.kind === 'key') {
      await this.server.lose();
      return true;
    }
    if (['unreachable', 'broken', 'loading'].includes(fault.kind)) this.server.lose();
    else if (fault.name === 'QuotaExceededError') this.toast(words.full);
    return false;
  }

  // ---- What can be done to a chat ----

  async rename() {
    const title = await askTitle(this.chat.title);
    if (title === null) return;
    this.chat.title = title;
    await this.keepChat();
    this.show();
  }

  async remove() {
    const { chat } = this;
    if (!(await askDelete(chat.title))) return;
    await this.writer.stop(chat);
    await this.store.removeChat(chat.id);
    this.begin();
  }

  async openSettings() {
    const { chat, settings, model } = this;
    // The recommendations that are known are those of the model's own way, whether to think.
    const isOwnWay = settings.thinking === undefined || settings.thinking === model?.thinks;
    const chosen = await askSettings({ chat, settings, defaults: (isOwnWay && model?.defaults) || {} });
    if (!chosen) return;
    chat.system = chosen.system;
    chat.tools = chosen.tools;
    if (this.path.length > 0) await this.keepChat();
    await this.setSettings(chosen.sampling);
  }

  exportMarkdown() {
    saveFile(fileName(this.chat.title, 'md'), 'text/markdown', toMarkdown(this.chat, this.messages));
  }

  async exportJson(chats, name) {
    saveFile(name, 'application/json', await toJson(chats, this.store));
  }

  async importFile(file) {
    const found = file.size <= LARGEST_IMPORT ? chatsIn(await file.text()) : [];
    if (found.length === 0) {
      this.toast(words.notImported(file.name));
      return;
    }
    for (const { chat, messages, pictures } of found) {
      await this.keep(async () => {
        for (const { id, chat: owner, url } of pictures) await this.store.putPicture(id, owner, url);
        for (const message of messages) await this.store.putMessage(message);
        await this.store.putChat(chat);
      });
    }
    this.toast(words.imported(found.length));
    this.sidebar.close();
    await this.open(found[0].chat.id);
  }

  // ---- Notes ----

  /** Says how the server stands until it stands otherwise; `note` is said once. */
  notice(text, note, action) {
    const place = byId('notice');
    place.hidden = text === '';
    if (place.dataset.said !== text) {
      place.dataset.said = text;
      place.replaceChildren(text);
    }
    if (action) place.append(' ', button(action.name, null, action.act, { shown: true, class: 'quiet' }));
    if (note) this.toast(note);
  }

  /** Says something that passes. */
  toast(text) {
    const place = byId('toast');
    place.textContent = text;
    place.hidden = false;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (place.hidden = true), TOAST_MS);
    announce(text);
  }
}

new App().start();
