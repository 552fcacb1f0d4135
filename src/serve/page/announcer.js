// What screen readers say: short notes, and an answer sentence by sentence while it is written.

import { byId } from './dom.js';

/** Characters after which a text is said though no sentence ends. */
const LONG = 300;

/** Notes that stand in the page at a time; older ones were read. */
const KEPT = 4;

/** Has screen readers say a text when they have said what they are saying. */
export function announce(text) {
  const region = byId('announcements');
  const note = document.createElement('p');
  note.textContent = text;
  region.append(note);
  while (region.childElementCount > KEPT) region.firstElementChild.remove();
}

/** The text without the marks of Markdown. */
const spoken = (text) => text.replace(/[*`#>|~]+/g, '').replace(/\s+/g, ' ').trim();

/** Says a text that grows, in whole sentences. */
export class Speaker {
  constructor(from = 0) {
    this.said = from;
  }

  /** The text is this long now; with `isDone` it grows no more. */
  hear(text, isDone = false) {
    const rest = text.slice(this.said);
    const ends = [...rest.matchAll(/[.!?:]["')\]*_]*\s|\n/g)].at(-1);
    const end = isDone ? rest.length : ends ? ends.index + ends[0].length : rest.length > LONG ? rest.lastIndexOf(' ') : 0;
    if (end <= 0) return;
    this.said += end;
    const words = spoken(rest.slice(0, end));
    if (words) announce(words);
  }
}
