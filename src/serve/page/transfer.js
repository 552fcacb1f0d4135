// Chats as files, out and in again.
//
// JSON has everything: `{"qwen-edge chats": 1, "chats": [{title, system, tools, messages}]}`, each message with the number of
// the one it follows, so that branches stay; pictures are in it. Markdown has what is seen, in the form of `/save` of the
// command line. What is read may come from anywhere: it is checked field by field, and gets names of its own. Beside both
// forms, sessions of the command line and lists of messages of OpenAI's API are read.

import { freshId } from './dom.js';
import { pathTo, titleOf } from './tree.js';

const VERSION = 'qwen-edge chats';
const MOST_MESSAGES = 100_000;
const PICTURE = /^data:image\/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+$/;
const ROLES = ['user', 'assistant', 'tool'];
const HEADINGS = { System: 'system', User: 'user', Assistant: 'assistant', Tool: 'tool' };

// ---- Out ----

async function entryOf(message, numbers, store) {
  const { role, text, thinking, thinkingMs, calls, call, at, end, stats, model } = message;
  const pictures = [];
  for (const { id, width, height } of message.pictures ?? []) {
    const url = await store.picture(id);
    if (url) pictures.push({ url, width, height });
  }
  const entry = { role, text, thinking, thinkingMs, calls, call, at, end, stats, model, follows: numbers.get(message.parent) };
  if (pictures.length > 0) entry.pictures = pictures;
  return entry;
}

/** Chats as JSON. */
export async function toJson(chats, store) {
  const out = [];
  for (const chat of chats) {
    const messages = [...(await store.messages(chat.id)).values()].sort((a, b) => a.at - b.at);
    const numbers = new Map(messages.map((message, i) => [message.id, i]));
    const entries = [];
    for (const message of messages) entries.push(await entryOf(message, numbers, store));
    const { title, system, tools, created, updated } = chat;
    out.push({ title, system, tools, created, updated, leaf: numbers.get(chat.leaf), messages: entries });
  }
  return `${JSON.stringify({ [VERSION]: 1, chats: out }, null, 1)}\n`;
}

/** A line that would be read as the heading of a message is marked as none. */
const guarded = (text) => text.replace(/^(\\*## (?:System|User|Assistant|Tool))$/gm, '\\$1');
const unguarded = (text) => text.replace(/^\\(\\*## (?:System|User|Assistant|Tool))$/gm, '$1');

/** What is seen of a chat as Markdown. Pictures are left out. */
export function toMarkdown(chat, messages) {
  const sections = chat.system?.trim() ? [`## System\n\n${guarded(chat.system.trim())}\n`] : [];
  for (const { role, text, thinking, calls = [] } of pathTo(messages, chat.leaf)) {
    const title = Object.keys(HEADINGS).find((key) => HEADINGS[key] === role);
    const quoted = thinking ? `${thinking.trim().split('\n').map((line) => `> ${line}`.trimEnd()).join('\n')}\n\n` : '';
    const called = calls.map((call) => `\n    ${JSON.stringify({ name: call.name, arguments: call.arguments })}\n`);
    sections.push(`## ${title}\n\n${quoted}${guarded(text.trim())}\n${called.join('')}`);
  }
  return sections.join('\n');
}

/** A title as the name of a file. */
export function fileName(title, ending) {
  const name = title.normalize('NFC').replace(/[^\p{L}\p{N} _-]+/gu, '').trim().replace(/\s+/g, '-').slice(0, 60);
  return `${name || 'chat'}.${ending}`;
}

// ---- In ----

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const textIn = (value) => (typeof value === 'string' ? value : '');
const numberIn = (value) => (Number.isFinite(value) ? value : undefined);
/** A time that is over. */
const timeIn = (value) => (value > 0 && value <= Date.now() ? Number(value) : undefined);

function callIn(call) {
  const named = isObject(call?.function) ? call.function : call;
  if (!isObject(named)) return null;
  const given = typeof named.arguments === 'string' ? named.arguments : JSON.stringify(named.arguments ?? {});
  return { id: textIn(call.id) || freshId(), name: textIn(named.name), arguments: given };
}

/** Text and pictures of a message, in our form or that of OpenAI's API. */
function contentIn(entry) {
  const parts = Array.isArray(entry.content) ? entry.content.filter(isObject) : [];
  const text = textIn(entry.text) || textIn(entry.content) || parts.map((part) => textIn(part.text)).join('');
  const shown = parts.map((part) => ({ url: isObject(part.image_url) ? part.image_url.url : part.image_url }));
  const pictures = [...(Array.isArray(entry.pictures) ? entry.pictures.filter(isObject) : []), ...shown];
  return { text, pictures: pictures.filter(({ url }) => typeof url === 'string' && PICTURE.test(url)) };
}

function statsIn(stats) {
  if (!isObject(stats)) return undefined;
  const fields = ['prompt', 'completion', 'cached', 'total', 'readingRate', 'writingRate'];
  return Object.fromEntries(fields.map((field) => [field, numberIn(stats[field])]));
}

/** A message of a file as it is kept; its pictures go to `pictures`. */
function messageIn(entry, chat, at, pictures) {
  const { text, pictures: shown } = contentIn(entry);
  const message = { id: freshId(), chat, parent: null, role: entry.role, text, at: timeIn(entry.at) ?? at };
  const thinking = textIn(entry.thinking) || textIn(entry.reasoning_content) || textIn(entry.reasoning);
  if (thinking) message.thinking = thinking;
  if (numberIn(entry.thinkingMs) !== undefined) message.thinkingMs = entry.thinkingMs;
  const calls = entry.calls ?? entry.tool_calls;
  const read = Array.isArray(calls) ? calls.map(callIn).filter(Boolean) : [];
  if (read.length > 0) message.calls = read;
  if (entry.role === 'tool') message.call = textIn(entry.call) || textIn(entry.tool_call_id);
  if (typeof entry.end === 'string') message.end = entry.end;
  if (typeof entry.model === 'string') message.model = entry.model;
  message.stats = statsIn(entry.stats);
  message.pictures = shown.map(({ url, width, height }) => {
    const picture = { id: freshId(), width: numberIn(width), height: numberIn(height) };
    pictures.push({ id: picture.id, chat, url });
    return picture;
  });
  return message;
}

/** A chat of a file with its messages and pictures, or null where there is nothing in it. */
function chatIn(value) {
  if (!isObject(value) || !Array.isArray(value.messages) || value.messages.length > MOST_MESSAGES) return null;
  const id = freshId();
  const now = Date.now();
  const [messages, pictures, ofNumber] = [[], [], new Map()];
  let system = textIn(value.system);
  let previous = null;
  value.messages.forEach((entry, i) => {
    if (!isObject(entry)) return;
    if (entry.role === 'system' || entry.role === 'developer') {
      system = [system, contentIn(entry).text].filter(Boolean).join('\n\n');
      return;
    }
    if (!ROLES.includes(entry.role)) return;
    const message = messageIn(entry, id, now + i, pictures);
    // What a message follows comes before it: there are no circles.
    const follows = Number.isInteger(entry.follows) ? ofNumber.get(entry.follows) : undefined;
    const isOfTree = 'text' in entry;
    message.parent = isOfTree ? (follows?.id ?? null) : previous;
    ofNumber.set(i, message);
    previous = message.id;
    messages.push(message);
  });
  if (messages.length === 0) return null;
  const first = messages.find((message) => message.role === 'user');
  const chat = {
    id,
    title: textIn(value.title).slice(0, 200) || titleOf(first?.text ?? ''),
    system,
    tools: textIn(value.tools),
    created: timeIn(value.created) ?? now,
    updated: timeIn(value.updated) ?? now,
    leaf: ofNumber.get(value.leaf)?.id ?? previous,
  };
  return { chat, messages, pictures };
}

/** Messages of a chat in Markdown, if it is one in our form. */
function markdownIn(text) {
  const messages = [];
  let lines = null;
  const end = () => {
    const last = messages.at(-1);
    if (!last) return;
    const quoted = [];
    while (last.role === 'assistant' && lines[0] === '') lines.shift();
    while (last.role === 'assistant' && /^>( |$)/.test(lines[0] ?? '')) quoted.push(lines.shift().replace(/^> ?/, ''));
    if (quoted.length > 0) last.reasoning_content = quoted.join('\n');
    last.content = unguarded(lines.join('\n').trim());
  };
  for (const line of text.replace(/\r\n?/g, '\n').split('\n')) {
    const heading = /^## (System|User|Assistant|Tool)$/.exec(line);
    if (heading) {
      end();
      messages.push({ role: HEADINGS[heading[1]] });
      lines = [];
    } else if (lines) {
      lines.push(line);
    }
  }
  end();
  return messages;
}

/** The chats in a file, with new names; none where it has none. */
export function chatsIn(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return [chatIn({ messages: markdownIn(text) })].filter(Boolean);
  }
  const chats = Array.isArray(value) ? [{ messages: value }] : Array.isArray(value?.chats) ? value.chats : [value];
  return chats.map(chatIn).filter(Boolean);
}
