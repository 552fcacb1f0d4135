// What the browser keeps: chats, their messages and their pictures, in IndexedDB. Where the browser gives none, as in some
// private windows, everything lives as long as the page does.

const DATABASE = 'qwen-edge';
const TABLES = ['chats', 'messages', 'pictures', 'settings'];

/** What a request to the database gives. */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Tables in IndexedDB. Rows have an `id`; those of messages and pictures the `chat` that they belong to. */
class Kept {
  static async open() {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      for (const name of TABLES) {
        const table = request.result.createObjectStore(name, { keyPath: 'id' });
        if (name === 'messages' || name === 'pictures') table.createIndex('chat', 'chat');
      }
    };
    const database = await done(request);
    // A newer page in another tab may change the tables.
    database.onversionchange = () => database.close();
    return new Kept(database);
  }

  constructor(database) {
    this.database = database;
    this.isLasting = true;
  }

  table(name, mode = 'readonly') {
    return this.database.transaction(name, mode).objectStore(name);
  }

  all(name) {
    return done(this.table(name).getAll());
  }

  of(name, chat) {
    return done(this.table(name).index('chat').getAll(chat));
  }

  get(name, id) {
    return done(this.table(name).get(id));
  }

  put(name, row) {
    return done(this.table(name, 'readwrite').put(row));
  }

  remove(name, id) {
    return done(this.table(name, 'readwrite').delete(id));
  }

  async removeOf(name, chat) {
    const table = this.table(name, 'readwrite');
    const ids = await done(table.index('chat').getAllKeys(chat));
    await Promise.all(ids.map((id) => done(table.delete(id))));
  }
}

/** The same in memory. */
class Passing {
  tables = Object.fromEntries(TABLES.map((name) => [name, new Map()]));
  isLasting = false;

  async all(name) {
    return [...this.tables[name].values()].map((row) => structuredClone(row));
  }

  async of(name, chat) {
    return (await this.all(name)).filter((row) => row.chat === chat);
  }

  async get(name, id) {
    return structuredClone(this.tables[name].get(id));
  }

  async put(name, row) {
    this.tables[name].set(row.id, structuredClone(row));
  }

  async remove(name, id) {
    this.tables[name].delete(id);
  }

  async removeOf(name, chat) {
    for (const row of await this.of(name, chat)) this.tables[name].delete(row.id);
  }
}

/** Chats, messages, pictures and settings. */
export class Store {
  static async open() {
    try {
      const store = new Store(await Kept.open());
      // Asked for where it can be: the browser then drops nothing when its disk is full.
      navigator.storage?.persist?.().catch(() => {});
      return store;
    } catch {
      return new Store(new Passing());
    }
  }

  constructor(tables) {
    this.tables = tables;
    this.isLasting = tables.isLasting;
  }

  /** All chats, the one used last first. */
  async chats() {
    return (await this.tables.all('chats')).sort((a, b) => b.updated - a.updated);
  }

  chat(id) {
    return this.tables.get('chats', id);
  }

  putChat(chat) {
    return this.tables.put('chats', chat);
  }

  /** Removes a chat with all that belongs to it. */
  async removeChat(id) {
    await this.tables.removeOf('messages', id);
    await this.tables.removeOf('pictures', id);
    await this.tables.remove('chats', id);
  }

  /** The messages of a chat by their ids. */
  async messages(chat) {
    return new Map((await this.tables.of('messages', chat)).map((message) => [message.id, message]));
  }

  putMessage(message) {
    return this.tables.put('messages', message);
  }

  /** The data URL of a picture, if it is there. */
  async picture(id) {
    return (await this.tables.get('pictures', id))?.url;
  }

  putPicture(id, chat, url) {
    return this.tables.put('pictures', { id, chat, url });
  }

  /** The ids of chats that have all of these words, in their titles or messages. */
  async search(query) {
    const wanted = query.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const texts = new Map((await this.tables.all('chats')).map((chat) => [chat.id, [chat.title]]));
    for (const message of await this.tables.all('messages')) texts.get(message.chat)?.push(message.text);
    const found = new Set();
    for (const [id, parts] of texts) {
      const text = parts.join('\n').toLocaleLowerCase();
      if (wanted.every((word) => text.includes(word))) found.add(id);
    }
    return found;
  }

  async setting(id) {
    return (await this.tables.get('settings', id))?.value;
  }

  putSetting(id, value) {
    return this.tables.put('settings', { id, value });
  }
}
