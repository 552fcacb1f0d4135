// Dialogs: the settings, the key, a title, and whether to delete. Each is made when it is asked for; what it gives is what the
// user chose, or null.

import { button, el, freshId } from './dom.js';
import { SAMPLING, toolsOf } from './request.js';
import { words } from './strings.js';

/**
 * Shows a dialog with this title, these parts and this word on its main button. `read` makes of it what is given, and may
 * return undefined to leave it open.
 */
function show({ title, parts, accept, read, isDangerous = false, more = [] }) {
  return new Promise((resolve) => {
    const titleId = freshId();
    const form = el('form', { novalidate: true },
      el('h2', { id: titleId }, title), ...parts,
      el('div', { class: 'dialog-buttons' }, ...more,
        button(words.cancel, null, () => dialog.close(), { shown: true, class: 'quiet' }),
        el('button', { type: 'submit', class: isDangerous ? 'danger' : 'primary' }, accept)));
    const dialog = el('dialog', { 'aria-labelledby': titleId }, form);
    let given = null;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const value = read(form);
      if (value === undefined) return;
      given = value;
      dialog.close();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A field with its label and, where there is one, a sentence about it. */
function labelled(label, field, help) {
  field.id = freshId();
  const helpId = freshId();
  if (help) field.setAttribute('aria-describedby', helpId);
  return el('div', { class: 'field' }, el('label', { for: field.id }, label), field, help && el('small', { id: helpId }, help));
}

/** Asks for the key of the server. */
export function askKey(wasWrong) {
  const field = el('input', { type: 'password', autocomplete: 'current-password', name: 'key', autofocus: true });
  const parts = [el('p', {}, words.keyText), labelled(words.key, field, wasWrong && words.keyWrong)];
  return show({ title: words.keyTitle, parts, accept: words.useKey, read: () => field.value.trim() || undefined });
}

/** Asks for a title. */
export function askTitle(title) {
  const field = el('input', { type: 'text', maxlength: 200, autofocus: true });
  field.value = title;
  const asked = show({
    title: words.renameTitle, parts: [labelled(words.title, field)], accept: words.save,
    read: () => field.value.trim() || undefined,
  });
  field.select();
  return asked;
}

/** Asks whether a chat is to be deleted. */
export function askDelete(title) {
  return show({
    title: words.deleteTitle, parts: [el('p', {}, words.deleteText(title))], accept: words.deleteChat,
    isDangerous: true, read: () => true,
  });
}

/** The settings of a chat and of all of them; `defaults` are those of the model by field. */
export function askSettings({ chat, settings, defaults }) {
  const area = (value, rows, more) => {
    const field = el('textarea', { rows, ...more });
    field.value = value ?? '';
    return field;
  };
  const system = area(chat.system, 4);
  const tools = area(chat.tools, 3, { spellcheck: 'false', class: 'is-code' });
  const problem = el('p', { class: 'fault', role: 'alert' });
  const numbers = SAMPLING.map(({ field, label, min, max, isWhole }) => {
    const known = defaults[field];
    const input = el('input', {
      type: 'number', name: field, min, max, step: 'any', inputmode: 'decimal',
      placeholder: Number.isFinite(known) ? String(Number(known.toFixed(3))) : words.defaultUnknown[field] ?? words.recommended,
    });
    if (Number.isFinite(settings[field])) input.value = String(settings[field]);
    return { field, label, input, isWhole };
  });
  const reset = button(words.reset, null, () => numbers.forEach(({ input }) => (input.value = '')), { shown: true, class: 'quiet' });
  const parts = [
    el('fieldset', {}, el('legend', {}, words.ofThisChat),
      labelled(words.system, system, words.systemHelp), labelled(words.tools, tools, words.toolsHelp)),
    el('fieldset', {}, el('legend', {}, words.ofAllChats),
      el('p', { class: 'help' }, words.byDefault),
      el('div', { class: 'numbers' }, ...numbers.map(({ field, label, input }) =>
        labelled(words[label], input, field === 'temperature' ? words.temperatureHelp : null))),
      reset),
    problem,
  ];
  const read = () => {
    const sampling = {};
    for (const { field, label, input, isWhole } of numbers) {
      const value = input.value === '' ? undefined : Number(input.value);
      if (!input.validity.valid || (isWhole && value !== undefined && !Number.isInteger(value))) {
        problem.textContent = words.outOfRange(words[label], input.min, input.max, isWhole);
        input.focus();
        return undefined;
      }
      sampling[field] = value;
    }
    try {
      toolsOf(tools.value);
    } catch {
      problem.textContent = words.badTools;
      tools.focus();
      return undefined;
    }
    return { system: system.value, tools: tools.value, sampling };
  };
  return show({ title: words.settings, parts, accept: words.save, read });
}
