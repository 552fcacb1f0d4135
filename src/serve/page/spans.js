// The spans of a paragraph in Markdown: code, emphasis, strikethrough, links, addresses, breaks; formulas are kept as they are
// written. The time is linear in the text and the depth limited, whatever a model writes.

/** Spans in spans, at most. */
const DEEPEST = 24;

/** Characters of an address, or of a formula, at most. */
const LONGEST_ADDRESS = 2000;

const isSpace = (c) => c === undefined || /\s/u.test(c);
const isMark = (c) => c !== undefined && /[\p{P}\p{S}]/u.test(c);

// Each is tried at one place of the text.
const ADDRESS = /(?:https?:\/\/|mailto:)[^\s<>"`]{1,2000}/iy;
const ANGLE = /<(?:br ?\/?>|((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>)/iy;
const DESTINATION = /^\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/;
const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const FORMULA = /\$\$[^$\n]{1,500}\$\$|\$(?![\s$])[^$\n]{0,500}?[^\s\\$]\$(?!\d)/y;
/** As far as no character has a meaning. */
const PLAIN = /[^\\`*_~[\]!<\n$hHmM]+/y;

/** What `pattern` finds in a text at a place, or null. */
function at(pattern, text, place) {
  pattern.lastIndex = place;
  return pattern.exec(text);
}

/** An address without the punctuation of the sentence around it. */
function trimmedAddress(address) {
  let end = address.length;
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

/** The part of a link behind its text, `(address "title")`: the address and its end. */
function destinationAt(text, place) {
  if (text[place] !== '(') return null;
  const found = DESTINATION.exec(text.slice(place + 1, place + LONGEST_ADDRESS));
  if (!found) return null;
  const address = (found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, '$1');
  return { address, to: place + 1 + found[0].length };
}

/**
 * Reads a text from its beginning to its end.
 *
 * Frames are what is open: the text itself, runs of `*`, `_` or `~~` that may begin an emphasis, and brackets that may begin a
 * link. What closes one takes the frames above it as text.
 */
class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.frames = [{ kind: 'text', children: [] }];
    /** Lengths of runs of backticks behind which there is no other one of that length. */
    this.unclosed = new Set();
  }

  read() {
    while (this.at < this.text.length) this.step();
    this.flattenTo(1);
    return this.frames[0].children;
  }

  get top() {
    return this.frames.at(-1);
  }

  /** The frame that was opened last of those of a kind: its place among all, or -1. */
  levelOf(is) {
    return this.frames.findLastIndex(is);
  }

  /** Goes on with a piece, a string or a span. */
  say(piece) {
    const { children } = this.top;
    if (typeof piece === 'string' && typeof children.at(-1) === 'string') children.push(children.pop() + piece);
    else if (piece !== '') children.push(piece);
  }

  /** Goes on with a piece of the text that ends here. */
  take(piece, end) {
    this.say(piece);
    this.at = end;
  }

  /** What was opened beyond so many frames has no end: its beginning is text. */
  flattenTo(level) {
    while (this.frames.length > level) {
      const { opener, children } = this.frames.pop();
      this.say(opener);
      children.forEach((child) => this.say(child));
    }
  }

  step() {
    switch (this.text[this.at]) {
      case '\\': return this.takeEscape();
      case '`': return this.takeCode();
      case '*': case '_': case '~': return this.takeRun();
      case '[': return this.openBracket('[');
      case '!': return this.text[this.at + 1] === '[' ? this.openBracket('![') : this.takePlain();
      case ']': return this.closeBracket();
      case '<': return this.takeAngle();
      case '\n': return this.takeLineEnd();
      case '$': return this.takeFormula();
      case 'h': case 'H': case 'm': case 'M': return this.takeAddress();
      default: return this.takePlain();
    }
  }

  takePlain() {
    const piece = at(PLAIN, this.text, this.at)?.[0] ?? this.text[this.at];
    this.take(piece, this.at + piece.length);
  }

  takeEscape() {
    const { text } = this;
    const next = text[this.at + 1];
    if (next === '\n') return this.take({ type: 'break' }, this.at + 2);
    const end = next === '(' ? text.slice(this.at, this.at + LONGEST_ADDRESS).indexOf('\\)', 2) : -1;
    if (end >= 0) return this.takeMath(this.at + end + 2);
    const escaped = at(ESCAPED, text, this.at);
    return escaped ? this.take(escaped[1], this.at + 2) : this.take('\\', this.at + 1);
  }

  takeFormula() {
    const formula = at(FORMULA, this.text, this.at);
    return formula ? this.takeMath(this.at + formula[0].length) : this.take('$', this.at + 1);
  }

  takeMath(end) {
    this.take({ type: 'math', text: this.text.slice(this.at, end) }, end);
  }

  takeAddress() {
    const { text } = this;
    // In the middle of a word there begins none, and in the text of a link there is none.
    const mayBegin = !/[\p{L}\p{N}]/u.test(text[this.at - 1] ?? ' ') && this.levelOf(({ kind }) => kind === 'bracket') < 0;
    const shown = mayBegin && trimmedAddress(at(ADDRESS, text, this.at)?.[0] ?? '');
    const address = shown && safeAddress(shown);
    if (!address) return this.take(text[this.at], this.at + 1);
    return this.take({ type: 'link', address, children: [shown] }, this.at + shown.length);
  }

  takeAngle() {
    const [whole, shown] = at(ANGLE, this.text, this.at) ?? ['<'];
    const address = shown && safeAddress(shown);
    const end = this.at + whole.length;
    if (address) return this.take({ type: 'link', address, children: [shown] }, end);
    return this.take(whole === '<' || shown ? whole : { type: 'break' }, end);
  }

  takeLineEnd() {
    const { children } = this.top;
    const last = children.at(-1);
    const isHard = typeof last === 'string' && last.endsWith('  ');
    if (typeof last === 'string') children[children.length - 1] = last.trimEnd();
    this.take(isHard ? { type: 'break' } : '\n', this.at + 1);
  }

  takeCode() {
    const { text } = this;
    const ticks = at(/`+/y, text, this.at)[0];
    const from = this.at + ticks.length;
    const to = this.unclosed.has(ticks.length) ? -1 : this.runOf(ticks.length, from);
    if (to < 0) {
      this.unclosed.add(ticks.length);
      return this.take(ticks, from);
    }
    let code = text.slice(from, to).replaceAll('\n', ' ');
    if (code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '') code = code.slice(1, -1);
    return this.take({ type: 'code', text: code }, to + ticks.length);
  }

  /** Where the next run of so many backticks begins, or -1. */
  runOf(length, from) {
    const runs = /`+/g;
    runs.lastIndex = from;
    for (let run = runs.exec(this.text); run; run = runs.exec(this.text)) {
      if (run[0].length === length) return run.index;
    }
    return -1;
  }

  takeRun() {
    const { text } = this;
    const mark = text[this.at];
    let n = 1;
    while (text[this.at + n] === mark) n += 1;
    const [before, after] = [text[this.at - 1], text[this.at + n]];
    this.at += n;
    if (mark === '~' && n !== 2) return this.say(mark.repeat(n));
    const left = !isSpace(after) && (!isMark(after) || isSpace(before) || isMark(before));
    const right = !isSpace(before) && (!isMark(before) || isSpace(after) || isMark(after));
    // In the middle of a word, an underscore is one.
    const opens = left && (mark !== '_' || !right || isMark(before));
    const closes = right && (mark !== '_' || !left || isMark(after));
    const rest = closes ? this.closeRuns(mark, n) : n;
    if (opens && rest > 0 && this.frames.length < DEEPEST) return this.openRun(mark, rest);
    return this.say(mark.repeat(rest));
  }

  openRun(mark, n) {
    this.frames.push({ kind: 'run', mark, n, opener: mark.repeat(n), children: [] });
  }

  /** Ends what a run of `n` marks can end. Returns the marks that are left. */
  closeRuns(mark, n) {
    while (n > 0) {
      const level = this.levelOf((frame) => frame.kind === 'run' && frame.mark === mark);
      if (level < 0) break;
      this.flattenTo(level + 1);
      const frame = this.frames.pop();
      const used = Math.min(frame.n, n) >= 2 ? 2 : 1;
      const type = mark === '~' ? 'deleted' : used === 2 ? 'strong' : 'emphasis';
      n -= used;
      if (frame.n > used) this.openRun(mark, frame.n - used);
      this.say({ type, children: frame.children });
    }
    return n;
  }

  openBracket(opener) {
    if (this.frames.length >= DEEPEST) return this.take(opener, this.at + opener.length);
    this.frames.push({ kind: 'bracket', opener, at: this.at, children: [] });
    this.at += opener.length;
    return undefined;
  }

  closeBracket() {
    const level = this.levelOf(({ kind }) => kind === 'bracket');
    if (level < 0) return this.take(']', this.at + 1);
    this.flattenTo(level + 1);
    const destination = destinationAt(this.text, this.at + 1);
    if (!destination) {
      this.flattenTo(level);
      return this.take(']', this.at + 1);
    }
    const { at: from, children } = this.frames.pop();
    const address = safeAddress(destination.address);
    // What may not be followed is seen as it was written.
    if (!address) return this.take(this.text.slice(from, destination.to), destination.to);
    const shown = children.length > 0 ? children : [destination.address];
    return this.take({ type: 'link', address, children: shown }, destination.to);
  }
}

/** The spans of a text: strings, and objects `{type}` with `children`, or for code and formulas with a `text`. */
export const spansOf = (text) => new Reader(text).read();
