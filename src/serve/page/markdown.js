// Markdown as models write it: from a text to a tree of plain objects, and from the tree to elements of the page. What is
// no Markdown, HTML above all, is text, and stays text.
//
// Blocks: headings, paragraphs, lists with tasks, quotes, fenced and indented code, tables, rules. Inline: code, emphasis,
// strikethrough, links, addresses, breaks; formulas are kept as they are written. The time is linear in the text, the depth
// limited, whatever a model writes.

import { el } from './dom.js';
import { words } from './strings.js';

/** Blocks in blocks, and spans in spans, at most. */
const DEEPEST_BLOCK = 10;
const DEEPEST_SPAN = 24;

/** Characters of an address, or of a formula on a line, at most. */
const LONGEST_ADDRESS = 2000;

/** Columns of a table at most. */
const MOST_COLUMNS = 100;

// No part of these can match in two ways, so that a line that does not match is told in one go.

const FENCE = /^( {0,3})(`{3,}|~{3,})(?!~)([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MATH = /^ {0,3}(?:\$\$|\\\[)/;

// ---- Blocks ----

const indentOf = (line) => line.length - line.trimStart().length;
const isBlank = (line) => line.trim() === '';

/** The same line with spaces for the tabs at its beginning. */
function untabbed(line) {
  const indent = /^[ \t]*/.exec(line)[0];
  return indent.includes('\t') ? indent.replaceAll('\t', '    ') + line.slice(indent.length) : line;
}

/** The line without so many spaces at its beginning, or as many as it has. */
const dedent = (line, n) => line.slice(Math.min(n, indentOf(line)));

/** Whether a line begins something other than a paragraph, also right behind one. */
function interrupts(line) {
  if (HEADING.test(line) || FENCE.test(line) || RULE.test(line) || QUOTE.test(line) || MATH.test(line)) return true;
  const item = ITEM.exec(line);
  // A number in the middle of a sentence may have come to the beginning of a line.
  return item !== null && line.length > item[0].length && (!/^\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1);
}

/** The blocks of a text; each has its lines, from one to before another. */
export function parse(text) {
  return blocksOf(text.replace(/\r\n?/g, '\n').split('\n').map(untabbed), 0);
}

function blocksOf(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = depth < DEEPEST_BLOCK ? blockAt(lines, at, depth) : paragraphAt(lines, at);
    block.from = at;
    at = block.to;
    blocks.push(block);
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  if (heading) return { type: 'heading', level: heading[1].length, text: headingText(heading[2] ?? ''), to: at + 1 };
  if (FENCE.test(line)) return fenceAt(lines, at);
  if (RULE.test(line)) return { type: 'rule', to: at + 1 };
  if (MATH.test(line)) return mathAt(lines, at);
  if (QUOTE.test(line)) return quoteAt(lines, at, depth);
  if (ITEM.test(line)) return listAt(lines, at, depth);
  if (indentOf(line) >= 4) return indentedAt(lines, at);
  if (line.includes('|') && lines[at + 1] !== undefined) {
    const table = tableAt(lines, at);
    if (table) return table;
  }
  return paragraphAt(lines, at);
}

/** The text of a heading, without the marks that may close it. */
function headingText(text) {
  const trimmed = text.trim();
  let end = trimmed.length;
  while (trimmed[end - 1] === '#') end -= 1;
  return end === 0 || isSpace(trimmed[end - 1]) ? trimmed.slice(0, end).trimEnd() : trimmed;
}

function fenceAt(lines, at) {
  const [, indent, fence, info] = FENCE.exec(lines[at]);
  const language = info.trim().split(/\s/, 1)[0];
  const code = [];
  let to = at + 1;
  for (; to < lines.length; to += 1) {
    const line = lines[to].trim();
    if (line.length >= fence.length && indentOf(lines[to]) < 4 && line === fence[0].repeat(line.length)) {
      return { type: 'code', language, text: code.join('\n'), to: to + 1 };
    }
    code.push(dedent(lines[to], indent.length));
  }
  // One that is being written.
  return { type: 'code', language, text: code.join('\n'), to };
}

function indentedAt(lines, at) {
  let to = at;
  let last = at;
  for (; to < lines.length && (isBlank(lines[to]) || indentOf(lines[to]) >= 4); to += 1) {
    if (!isBlank(lines[to])) last = to;
  }
  const code = lines.slice(at, last + 1).map((line) => dedent(line, 4));
  return { type: 'code', language: '', text: code.join('\n'), to: last + 1 };
}

/** A formula on lines of its own, as it is written. */
function mathAt(lines, at) {
  const first = lines[at].trim();
  const close = first.startsWith('$$') ? '$$' : '\\]';
  let to = at;
  let from = 2;
  for (; to < lines.length && !isBlank(lines[to]); to += 1) {
    if (lines[to].trim().indexOf(close, from) >= 0) {
      to += 1;
      break;
    }
    from = 0;
  }
  return { type: 'math', text: lines.slice(at, to).join('\n'), to };
}

function quoteAt(lines, at, depth) {
  const inner = [];
  let to = at;
  for (; to < lines.length; to += 1) {
    const line = lines[to];
    if (QUOTE.test(line)) inner.push(line.replace(QUOTE, ''));
    // The last line of a paragraph may go on without the mark.
    else if (!isBlank(line) && !isBlank(inner.at(-1)) && !interrupts(line)) inner.push(line);
    else break;
  }
  return { type: 'quote', blocks: blocksOf(inner, depth + 1), to };
}

function listAt(lines, at, depth) {
  const [, , marker] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(marker);
  const sign = marker.at(-1);
  const items = [];
  let isLoose = false;
  let blank = 0;
  let to = at;
  while (to < lines.length) {
    const item = ITEM.exec(lines[to]);
    if (!item || item[2].at(-1) !== sign || /\d/.test(item[2]) !== isOrdered || RULE.test(lines[to])) break;
    const rest = lines[to].slice(item[0].length);
    const base = item[1].length;
    const width = base + item[2].length + Math.min(Math.max(item[3].length, 1), 4);
    const inner = [item[3].length > 4 ? ' '.repeat(item[3].length - 1) + rest : rest];
    // With an empty line between items, each is a paragraph.
    if (blank > 0) isLoose = true;
    blank = 0;
    for (to += 1; to < lines.length; to += 1) {
      const line = lines[to];
      if (isBlank(line)) {
        blank += 1;
        continue;
      }
      const indent = indentOf(line);
      // Models indent what belongs to an item by two, three or four.
      const belongs = indent >= base + 2 && (indent >= width || blank === 0 || ITEM.test(line.trimStart()));
      const goesOn = blank === 0 && !interrupts(line) && !ITEM.test(line);
      if (!belongs && !goesOn) break;
      if (blank > 0) isLoose ||= indent < width + 2;
      for (; blank > 0; blank -= 1) inner.push('');
      inner.push(dedent(line, width));
    }
    const task = /^\[([ xX])\] +/.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    items.push({ task: task && task[1] !== ' ', isTask: task !== null, blocks: blocksOf(inner, depth + 1) });
  }
  return { type: 'list', isOrdered, start: isOrdered ? Number.parseInt(marker, 10) : 1, isLoose, items, to };
}

/** The cells of a row: pipes divide them, but for those behind a backslash or in code. */
function cellsOf(line) {
  const cells = [];
  let cell = '';
  let inCode = false;
  const row = line.trim().replace(/^\|/, '');
  const lastTick = row.lastIndexOf('`');
  for (let i = 0; i < row.length; i += 1) {
    if (row[i] === '\\' && row[i + 1] === '|') {
      cell += '|';
      i += 1;
    } else if (row[i] === '|' && !(inCode && lastTick > i)) {
      cells.push(cell.trim());
      cell = '';
      inCode = false;
    } else {
      if (row[i] === '`') inCode = !inCode;
      cell += row[i];
    }
  }
  if (cell.trim() !== '') cells.push(cell.trim());
  return cells;
}

function tableAt(lines, at) {
  if (!DELIMITERS.test(lines[at + 1])) return null;
  const head = cellsOf(lines[at]);
  const marks = cellsOf(lines[at + 1]);
  if (head.length !== marks.length || head.length > MOST_COLUMNS || !(lines[at + 1].includes('|') || head.length === 1)) return null;
  const aligns = marks.map((mark) =>
    (mark.endsWith(':') ? (mark.startsWith(':') ? 'center' : 'end') : 'start'));
  const rows = [];
  let to = at + 2;
  for (; to < lines.length && !isBlank(lines[to]) && lines[to].includes('|'); to += 1) {
    const cells = cellsOf(lines[to]);
    rows.push(head.map((_, i) => cells[i] ?? ''));
  }
  return { type: 'table', head, aligns, rows, to };
}

function paragraphAt(lines, at) {
  let to = at + 1;
  while (to < lines.length && !isBlank(lines[to]) && !interrupts(lines[to])) {
    // A table's head may follow a line of text.
    if (lines[to].includes('|') && lines[to + 1] !== undefined && tableAt(lines, to)) break;
    to += 1;
  }
  return { type: 'paragraph', text: lines.slice(at, to).map((line) => line.trimStart()).join('\n'), to };
}

// ---- Spans ----

const isSpace = (c) => c === undefined || /\s/u.test(c);
const isMark = (c) => c !== undefined && /[\p{P}\p{S}]/u.test(c);
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const ADDRESS = /(?:https?:\/\/|mailto:)[^\s<>"`]{1,2000}/iy;

/** An address without the punctuation of the sentence around it. */
function trimmedAddress(address) {
  let end = Math.min(address.length, LONGEST_ADDRESS);
  for (;;) {
    const last = address[end - 1];
    const isClosing = last === ')' && !address.slice(0, end - 1).includes('(');
    if (end > 0 && (isClosing || /[.,:;!?'"*_~\]]/.test(last))) end -= 1;
    else return address.slice(0, end);
  }
}

/** The address of a link if it is one that may be followed: `http`, `https` or `mailto`. */
export function safeAddress(address) {
  try {
    const url = new URL(address);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The part of a link behind its text: `(address "title")`. */
function destinationAt(text, at) {
  if (text[at] !== '(') return null;
  const part = text.slice(at + 1, at + LONGEST_ADDRESS);
  const found = /^\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(part);
  if (!found) return null;
  const address = (found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, '$1');
  return { address, to: at + 1 + found[0].length };
}

/**
 * Spans of a text: strings, and objects `{type, children | text}`.
 *
 * Frames are what is open: the text itself, runs of `*`, `_` or `~~` that may begin an emphasis, and brackets that may begin a
 * link. What closes one takes the frames above it as text.
 */
export function spansOf(text) {
  const frames = [{ kind: 'text', children: [] }];
  const noCloserOf = new Map();
  const top = () => frames.at(-1);
  const say = (piece) => {
    const { children } = top();
    if (typeof piece === 'string' && typeof children.at(-1) === 'string') children.push(children.pop() + piece);
    else if (piece !== '') children.push(piece);
  };
  const openText = (frame) => (frame.kind === 'run' ? frame.mark.repeat(frame.n) : frame.opener);
  const flattenTo = (level) => {
    while (frames.length > level) {
      const frame = frames.pop();
      say(openText(frame));
      frame.children.forEach(say);
    }
  };
  const levelOf = (is) => frames.findLastIndex(is);

  let at = 0;
  const takeCode = () => {
    const run = /`+/y;
    run.lastIndex = at;
    const ticks = run.exec(text)[0];
    const from = at + ticks.length;
    at = from;
    if (noCloserOf.has(ticks.length)) return say(ticks);
    const closer = /`+/g;
    closer.lastIndex = from;
    for (let found = closer.exec(text); found; found = closer.exec(text)) {
      if (found[0].length !== ticks.length) continue;
      let code = text.slice(from, found.index).replaceAll('\n', ' ');
      if (code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '') code = code.slice(1, -1);
      at = found.index + ticks.length;
      return say({ type: 'code', text: code });
    }
    noCloserOf.set(ticks.length, true);
    return say(ticks);
  };

  const takeRun = () => {
    const mark = text[at];
    let n = 1;
    while (text[at + n] === mark) n += 1;
    const [before, after] = [text[at - 1], text[at + n]];
    at += n;
    if (mark === '~' && n !== 2) return say(mark.repeat(n));
    const left = !isSpace(after) && (!isMark(after) || isSpace(before) || isMark(before));
    const right = !isSpace(before) && (!isMark(before) || isSpace(after) || isMark(after));
    const opens = left && (mark !== '_' || !right || isMark(before));
    const closes = right && (mark !== '_' || !left || isMark(after));
    while (closes && n > 0) {
      const level = levelOf((frame) => frame.kind === 'run' && frame.mark === mark);
      if (level < 0) break;
      flattenTo(level + 1);
      const frame = top();
      const used = Math.min(frame.n, n) >= 2 ? 2 : 1;
      const type = mark === '~' ? 'deleted' : used === 2 ? 'strong' : 'emphasis';
      const span = { type, children: frame.children };
      frame.n -= used;
      n -= used;
      frame.children = [span];
      if (frame.n === 0) {
        frames.pop();
        say(span);
      }
    }
    if (n === 0) return undefined;
    if (opens && frames.length < DEEPEST_SPAN) frames.push({ kind: 'run', mark, n, children: [] });
    else say(mark.repeat(n));
    return undefined;
  };

  const takeBracket = () => {
    const level = levelOf((frame) => frame.kind === 'bracket');
    if (level < 0) {
      at += 1;
      return say(']');
    }
    const destination = destinationAt(text, at + 1);
    flattenTo(level + 1);
    const frame = frames.pop();
    const raw = text.slice(frame.at, destination?.to ?? at + 1);
    const address = destination && safeAddress(destination.address);
    if (address) {
      at = destination.to;
      const children = frame.children.length > 0 ? frame.children : [destination.address];
      return say({ type: 'link', address, children });
    }
    if (destination) {
      // What leads nowhere is seen as it was written.
      at = destination.to;
      return say(raw);
    }
    at += 1;
    say(frame.opener);
    frame.children.forEach(say);
    return say(']');
  };

  /** A formula on the line: its closing mark, if `text` has one there. */
  const mathEnd = () => {
    if (text.startsWith('\\(', at)) {
      const end = text.slice(at, at + LONGEST_ADDRESS).indexOf('\\)', 2);
      return end < 0 ? -1 : at + end + 2;
    }
    if (text[at] !== '$') return -1;
    const formula = /\$\$[^$\n]{1,500}\$\$|\$(?![\s$])[^$\n]{0,500}?[^\s\\$]\$(?!\d)/y;
    formula.lastIndex = at;
    return formula.test(text) ? formula.lastIndex : -1;
  };

  while (at < text.length) {
    const c = text[at];
    const isAddress = (c === 'h' || c === 'H' || c === 'm' || c === 'M') && !/[\p{L}\p{N}]/u.test(text[at - 1] ?? ' ');
    if (isAddress) ADDRESS.lastIndex = at;
    const found = isAddress && ADDRESS.exec(text);
    const address = found && trimmedAddress(found[0]);
    if (address && safeAddress(address) && levelOf((frame) => frame.kind === 'bracket') < 0) {
      say({ type: 'link', address: safeAddress(address), children: [address] });
      at += address.length;
    } else if ((c === '$' || (c === '\\' && text[at + 1] === '(')) && mathEnd() > 0) {
      const end = mathEnd();
      say({ type: 'math', text: text.slice(at, end) });
      at = end;
    } else if (c === '\\' && PUNCTUATION.test(text[at + 1] ?? '')) {
      say(text[at + 1]);
      at += 2;
    } else if (c === '\\' && text[at + 1] === '\n') {
      say({ type: 'break' });
      at += 2;
    } else if (c === '`') {
      takeCode();
    } else if (c === '*' || c === '_' || c === '~') {
      takeRun();
    } else if ((c === '[' || (c === '!' && text[at + 1] === '[')) && frames.length < DEEPEST_SPAN) {
      const opener = c === '[' ? '[' : '![';
      frames.push({ kind: 'bracket', opener, at, children: [] });
      at += opener.length;
    } else if (c === ']') {
      takeBracket();
    } else if (c === '<') {
      const mark = /<(?:br ?\/?>|((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>)/iy;
      mark.lastIndex = at;
      const [whole, inner] = mark.exec(text) ?? ['<'];
      const target = inner && safeAddress(inner);
      if (target) say({ type: 'link', address: target, children: [inner] });
      else say(whole === '<' || inner ? whole : { type: 'break' });
      at += whole.length;
    } else if (c === '\n') {
      const { children } = top();
      const last = children.at(-1);
      const isHard = typeof last === 'string' && last.endsWith('  ');
      if (typeof last === 'string') children[children.length - 1] = last.trimEnd();
      say(isHard ? { type: 'break' } : '\n');
      at += 1;
    } else {
      // As far as nothing is meant by a character.
      const plain = /[^\\`*_~[\]!<\n$hHmM]+/y;
      plain.lastIndex = at;
      const run = plain.exec(text)?.[0] ?? c;
      say(run);
      at += run.length;
    }
  }
  flattenTo(1);
  return frames[0].children;
}

// ---- Elements ----

const SPANS = { strong: 'strong', emphasis: 'em', deleted: 'del' };

function spanElements(spans) {
  return spans.map((span) => {
    if (typeof span === 'string') return span;
    if (span.type === 'break') return el('br');
    if (span.type === 'code') return el('code', {}, span.text);
    if (span.type === 'math') return el('code', { class: 'math' }, span.text);
    const children = spanElements(span.children);
    if (span.type !== 'link') return el(SPANS[span.type], {}, ...children);
    return el('a', { href: span.address, rel: 'noopener noreferrer', target: '_blank' }, ...children);
  });
}

/** The spans of a text as elements. */
const inline = (text) => spanElements(spansOf(text));

function listElement({ isOrdered, start, isLoose, items }, tools) {
  const list = el(isOrdered ? 'ol' : 'ul', { start: isOrdered && start !== 1 ? start : null });
  for (const { isTask, task, blocks } of items) {
    const item = el('li', { class: isTask ? 'task' : null });
    if (isTask) item.append(task ? '☑ ' : '☐ ');
    for (const block of blocks) {
      const isBare = block.type === 'paragraph' && !isLoose;
      item.append(...(isBare ? inline(block.text) : [blockElement(block, tools)]));
    }
    list.append(item);
  }
  return list;
}

function tableElement({ head, aligns, rows }) {
  const cell = (name) => (text, i) => el(name, { class: `to-${aligns[i]}`, scope: name === 'th' ? 'col' : null }, ...inline(text));
  const table = el('table', {},
    el('thead', {}, el('tr', {}, ...head.map(cell('th')))),
    el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map(cell('td'))))));
  // Wide ones are moved to and fro, with the keyboard too.
  return el('div', { class: 'wide', tabindex: '0', role: 'group', 'aria-label': words.table }, table);
}

/** A block as an element. `tools.code(text, language)` gives what stands for code. */
function blockElement(block, tools) {
  switch (block.type) {
    // The title of the chat is above the largest of them.
    case 'heading': return el(`h${Math.min(block.level - tools.top + 2, 6)}`, { class: `level-${block.level}` }, ...inline(block.text));
    case 'code': return tools.code(block.text, block.language);
    case 'math': return el('p', {}, el('code', { class: 'math' }, block.text));
    case 'rule': return el('hr');
    case 'quote': return el('blockquote', {}, ...block.blocks.map((inner) => blockElement(inner, tools)));
    case 'list': return listElement(block, tools);
    case 'table': return tableElement(block);
    default: return el('p', {}, ...inline(block.text));
  }
}

/** The level of the largest heading. */
const topOf = (blocks) => blocks.reduce((top, { type, level, blocks: inner }) =>
  (type === 'heading' ? Math.min(top, level) : type === 'quote' ? Math.min(top, topOf(inner)) : top), 6);

/**
 * A place for Markdown that may grow: blocks whose text is as before keep their elements, so that a selection, the focus
 * and what was scrolled stay as they are.
 */
export class MarkdownView {
  constructor(tools) {
    this.tools = tools;
    this.element = el('div', { class: 'markdown' });
    this.text = null;
    this.sources = [];
  }

  show(text) {
    if (text === this.text) return;
    this.text = text;
    const lines = text.replace(/\r\n?/g, '\n').split('\n');
    const blocks = parse(text);
    const sources = blocks.map(({ from, to }) => lines.slice(from, to).join('\n'));
    const top = topOf(blocks);
    if (top !== this.tools.top) this.sources = [];
    this.tools.top = top;
    let same = 0;
    while (same < sources.length && sources[same] === this.sources[same]) same += 1;
    while (this.element.childNodes.length > same) this.element.lastChild.remove();
    for (const block of blocks.slice(same)) this.element.append(blockElement(block, this.tools));
    this.sources = sources;
  }
}
