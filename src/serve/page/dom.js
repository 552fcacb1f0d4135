// Elements: the one way in which this page makes any. A text stays a text: nothing here, or anywhere else in the page,
// has the browser parse HTML.

const SVG = 'http://www.w3.org/2000/svg';

// Icons, drawn as strokes on a grid of 20 by 20.
const STROKES = {
  chats: 'M3 5h14M3 10h14M3 15h9',
  plus: 'M10 4v12M4 10h12',
  send: 'M10 16V4.5M5 9.5l5-5 5 5',
  stop: 'M6.5 6.5h7v7h-7z',
  picture: 'M3 4h14v12H3zM3 13.5l4-4 4 4 2.5-2.5 3.5 3.5M13 7.5h.01',
  copy: 'M7.5 7.5h9v9h-9zM4 12.5v-9h9',
  edit: 'M4 16l.8-3.6L13 4.2l2.8 2.8-8.2 8.2z',
  again: 'M16 10a6 6 0 1 1-2-4.5L16 7.5M16 3.5v4h-4',
  onward: 'M4 10h11M10.5 5.5L15 10l-4.5 4.5',
  left: 'M12 5l-5 5 5 5',
  right: 'M8 5l5 5-5 5',
  down: 'M10 4v11M5.5 10.5L10 15l4.5-4.5',
  settings: 'M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4',
  more: 'M5 10h.01M10 10h.01M15 10h.01',
  close: 'M5 5l10 10M15 5L5 15',
  check: 'M4.5 10.5l3.5 3.5 7.5-8',
};

/**
 * An element with attributes, listeners (`onclick: f`) and children: elements, texts, or nothing.
 */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** A picture beside or in place of words, which screen readers pass over. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', STROKES[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and has a name; with `shown`, the name is seen as well. */
export function button(name, iconName, onclick, { shown = false, ...more } = {}) {
  const label = shown ? {} : { 'aria-label': name, title: name };
  return el('button', { type: 'button', ...label, ...more, onclick }, iconName && icon(iconName),
    shown && el('span', {}, name));
}

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** A name that no other thing has. `crypto.randomUUID` is for secure contexts alone, and this page is often none. */
export function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(36).padStart(2, '0')).join('');
}

/** Copies a text. Where there is no clipboard, as over plain http, an invisible field is copied from. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = el('textarea', { class: 'unseen', 'aria-hidden': 'true', tabindex: '-1' });
    const focused = document.activeElement;
    field.value = text;
    // Beside what has the focus: a dialog keeps it from everything outside.
    (focused?.closest('dialog') ?? document.body).append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    focused?.focus({ preventScroll: true });
    return copied;
  }
}

/** Saves a text as a file. */
export function saveFile(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
