// Answers in the making: asks the server, has the message grow, and keeps it as it grows. One at a time in each chat, and in
// several chats beside each other.

import { Answer } from './answer.js';
import { Speaker, announce } from './announcer.js';
import { Fault, streamChat } from './api.js';
import { bodyOf } from './request.js';
import { words, wordsOf } from './strings.js';

/** What is seen lags behind what has come by so much at most, and what is kept. */
const SHOWN_MS = 60;
const KEPT_MS = 1000;

/** One answer in the making. */
class Run {
  constructor(message, { onPaint, onKeep }) {
    this.message = message;
    this.abort = new AbortController();
    this.answer = new Answer(message);
    this.speaker = new Speaker(message.text.length);
    this.onPaint = onPaint;
    this.onKeep = onKeep;
    this.keptAt = -Infinity;
  }

  /** Shows soon what has come. */
  paintSoon() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.paint();
    }, SHOWN_MS);
  }

  paint() {
    this.onPaint(this);
    if (performance.now() - this.keptAt < KEPT_MS) return;
    this.keptAt = performance.now();
    this.onKeep(this.message);
  }

  async read(body) {
    for await (const chunk of streamChat(body, this.abort.signal)) {
      this.answer.take(chunk);
      this.paintSoon();
    }
    this.message.end ??= 'stop';
  }

  /** The message when there will be no more of it; `fault` ended it, if anything did. */
  end(fault) {
    clearTimeout(this.timer);
    const { message, answer } = this;
    answer.endThinking();
    if (fault === undefined) return;
    if (this.abort.signal.aborted) {
      message.end = 'stopped';
    } else if (fault instanceof Fault && fault.kind === 'broken') {
      message.end = 'broken';
    } else {
      message.end = 'failed';
      message.fault = fault instanceof Fault ? wordsOf(fault) : words.ended.failed;
    }
  }
}

/** All answers in the making. */
export class Writer {
  /**
   * `onPaint(run)` where an answer has grown, `onChange(chat)` where one begins or ends; `ready()` gives the model's name once
   * there is one, `onFault(fault)` whether to try again.
   */
  constructor({ store, ready, onPaint, onChange, onFault }) {
    Object.assign(this, { store, ready, onPaint, onChange, onFault });
    this.runs = new Map();
  }

  runOf(chat) {
    return this.runs.get(chat.id)?.run ?? null;
  }

  /** The messages of a chat in which an answer is being written: those that it grows in. */
  messagesOf(chat) {
    return this.runs.get(chat)?.messages;
  }

  /** Stops what is being written in a chat; what it gives is there when that has ended. */
  stop(chat) {
    this.runOf(chat)?.abort.abort();
    return this.runs.get(chat.id)?.ended;
  }

  /** Keeps what there is of every answer, as the page may go. */
  keepAll() {
    for (const { run } of this.runs.values()) this.store.putMessage(run.message).catch(() => {});
  }

  /** Writes `message`, the last on `path`, which is sent without it unless it is to go on. */
  write(asked) {
    const ended = this.writeToEnd(asked);
    const entry = this.runs.get(asked.chat.id);
    if (entry) entry.ended = ended;
    return ended;
  }

  async writeToEnd({ chat, messages, path, message, settings, isSeen }) {
    delete message.end;
    delete message.fault;
    const run = new Run(message, {
      onPaint: (painted) => {
        this.onPaint(chat, painted);
        if (isSeen()) painted.speaker.hear(message.text);
      },
      onKeep: (kept) => this.store.putMessage(kept).catch(() => {}),
    });
    this.runs.set(chat.id, { run, messages });
    this.onChange(chat);
    let fault;
    try {
      await this.ask(run, chat, path, settings);
    } catch (error) {
      fault = error ?? new Fault('broken');
    }
    run.end(fault);
    this.runs.delete(chat.id);
    chat.updated = Date.now();
    try {
      await this.store.putMessage(message);
      await this.store.putChat(chat);
    } catch (error) {
      this.onFault(error);
    }
    if (isSeen()) {
      run.speaker.hear(message.text, true);
      const ending = message.fault ?? words.ended[message.end];
      if (ending) announce(ending);
    }
    this.onChange(chat);
  }

  async ask(run, chat, path, settings) {
    for (;;) {
      const model = await unlessAborted(this.ready(), run.abort.signal);
      const pictureOf = (id) => this.store.picture(id);
      const body = await bodyOf({ path, chat, settings, model, pictureOf });
      try {
        await run.read(body);
        return;
      } catch (fault) {
        if (run.abort.signal.aborted || !(fault instanceof Fault) || !(await this.onFault(fault))) throw fault;
      }
    }
  }
}

/** What is waited for, or an error as soon as `signal` is aborted. */
function unlessAborted(promise, signal) {
  const aborted = new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  return Promise.race([promise, aborted]);
}
