// The blocks of a text in Markdown as models write it: headings, paragraphs, lists with tasks, quotes, fenced and indented code,
// tables, rules; formulas on lines of their own are kept as they are written. The time is linear in the text and the depth
// limited, whatever a model writes.

/** Blocks in blocks, at most. */
const DEEPEST = 10;

/** Columns of a table, at most. */
const MOST_COLUMNS = 100;

// No part of these can match in two ways, so that a line that does not match is told in one go.

const FENCE = /^( {0,3})(`{3,}|~{3,})(?!~)([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MATH = /^ {0,3}(?:\$\$|\\\[)/;

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

/**
 * The blocks of a text: objects `{type, from, to}`, which begin at line `from` and end before line `to`, with the texts, blocks,
 * items or cells that are in them.
 */
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
    const block = depth < DEEPEST ? blockAt(lines, at, depth) : paragraphAt(lines, at);
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
  return end === 0 || /\s/.test(trimmed[end - 1]) ? trimmed.slice(0, end).trimEnd() : trimmed;
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
