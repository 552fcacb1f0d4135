// Markdown as models write it, shown: from blocks and spans, which are plain objects, to elements of the page. What is no
// Markdown, HTML above all, is text, and stays text.

import { parse } from './blocks.js';
import { el } from './dom.js';
import { spansOf } from './spans.js';
import { words } from './strings.js';

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
