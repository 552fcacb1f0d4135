// Blocks of code in answers: with their language, a button that copies, and scrolling of their own.

import { announce } from './announcer.js';
import { button, copyText, el, icon } from './dom.js';
import { words } from './strings.js';

/** Time for which a button says that it has copied. */
const SHOWN_MS = 1600;

/** A button that copies what `text` gives, and says whether it could. */
export function copyButton(name, text, more) {
  const copying = button(name, 'copy', async () => {
    const copied = await copyText(text());
    announce(copied ? words.copied : words.notCopied);
    if (!copied) return;
    copying.querySelector('svg').replaceWith(icon('check'));
    setTimeout(() => copying.querySelector('svg').replaceWith(icon('copy')), SHOWN_MS);
  }, more);
  return copying;
}

/** A block of code. */
export function codeBlock(text, language) {
  const name = language ? `${words.code}: ${language}` : words.code;
  return el('figure', { class: 'code' },
    el('figcaption', {}, el('span', {}, language.slice(0, 40)), copyButton(words.copyCode, () => text)),
    el('pre', { tabindex: '0', role: 'group', 'aria-label': name }, el('code', {}, text)));
}
