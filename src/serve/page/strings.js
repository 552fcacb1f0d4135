// All words that the page says, in English. Another language is another table like this one.

const number = new Intl.NumberFormat('en');
const rate = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const many = (n, one, more) => `${number.format(n)} ${n === 1 ? one : more}`;
const seconds = (ms) => (ms < 59_500
  ? `${Math.max(ms / 1000, 0.1).toFixed(ms < 9_950 ? 1 : 0)} s`
  : `${number.format(Math.floor(ms / 60_000))} min ${number.format(Math.round(ms / 1000) % 60)} s`);

export const words = {
  // The list of chats.
  chats: 'Chats',
  showChats: 'Show chats',
  hideChats: 'Hide chats',
  newChat: 'New chat',
  searchChats: 'Search chats',
  noChats: 'No chats yet.',
  nothingFound: 'No chat has these words.',
  exportAll: 'Export all',
  importFile: 'Import',
  untitled: 'New chat',
  imported: (n) => `${many(n, 'chat', 'chats')} imported.`,
  notImported: (name) => `${name} holds no chats that this page can read.`,

  // A chat.
  conversation: 'Conversation',
  chatActions: 'Actions for this chat',
  rename: 'Rename',
  exportMarkdown: 'Export as Markdown',
  exportJson: 'Export as JSON',
  deleteChat: 'Delete',
  settings: 'Settings',
  toEnd: 'Go to the end',
  greeting: 'What is on your mind?',
  about: 'The model runs on the machine that serves this page. Chats are kept in this browser, and nowhere else.',

  // Messages.
  you: 'You',
  model: 'Model',
  toolResult: (name) => (name ? `Result of ${name}` : 'Result'),
  copy: 'Copy',
  copied: 'Copied.',
  notCopied: 'The browser does not let this page copy.',
  code: 'Code',
  table: 'Table',
  copyCode: 'Copy code',
  edit: 'Edit',
  editMessage: 'Edit message',
  sendEdited: 'Send edited message',
  cancel: 'Cancel',
  regenerate: 'Regenerate',
  goOn: 'Continue',
  tryAgain: 'Try again',
  previous: 'Previous version',
  next: 'Next version',
  version: (i, n) => `Version ${i} of ${n}`,
  versionShort: (i, n) => `${i} / ${n}`,
  thinking: 'Thinking',
  thoughtFor: (ms) => `Thought for ${seconds(ms)}`,
  thought: 'Thoughts',
  call: (name) => `Calls ${name}`,
  callResult: (name) => `Result for ${name}`,
  sendResult: 'Send result',
  waiting: 'Waiting for a place',
  reading: (done, total) => `Reading the prompt: ${number.format(Math.floor((100 * done) / Math.max(total, 1)))} %`,
  writing: 'Writing',
  shownPicture: (i) => `Picture ${i}`,
  lostPicture: 'A picture that is no longer in this browser',
  ended: {
    stopped: 'Stopped.',
    length: 'The answer is as long as it may be.',
    repetition: 'Ended, for it went round in circles.',
    shutdown: 'The server ended before the answer did.',
    failed: 'No answer came.',
    broken: 'The connection broke. What was written is kept.',
    left: 'The page was closed before the answer was complete.',
  },
  rateNow: (perSecond) => `about ${rate.format(perSecond)} tokens/s`,
  stats: ({ completion, writingRate }) =>
    [completion && many(completion, 'token', 'tokens'), writingRate && `${rate.format(writingRate)} tokens/s`]
      .filter(Boolean).join(', '),
  statsOfPrompt: ({ prompt, cached, readingRate }) =>
    [prompt && `${many(prompt, 'token', 'tokens')} in the prompt`,
      cached && `${number.format(cached)} known already`,
      readingRate && `read at ${rate.format(readingRate)} tokens/s`].filter(Boolean).join(', '),

  // Writing a message.
  message: 'Message',
  placeholder: 'Write a message',
  send: 'Send',
  stop: 'Stop',
  addPictures: 'Add pictures',
  noVision: 'This model sees no pictures: it is served without a vision file.',
  pictureCost: (width, height, tokens) => `${width} × ${height}, about ${many(tokens, 'token', 'tokens')}`,
  removePicture: (i) => `Remove picture ${i}`,
  noPicture: (name) => `${name} is no picture that this browser can read.`,
  dropHere: 'Drop pictures here',
  think: 'Thinking',
  thinkAuto: 'Thinking: auto',
  thinkOn: 'Thinking: on',
  thinkOff: 'Thinking: off',
  context: 'Context used',
  contextOf: (used, most) => `${number.format(used)} of ${many(most, 'token', 'tokens')}`,
  contextShort: (used, most) => `${Math.round((100 * used) / most)} % of context`,
  keys: 'Enter sends, Shift and Enter begins a line, Escape stops an answer.',

  // Settings.
  ofThisChat: 'This chat',
  ofAllChats: 'All chats',
  system: 'System prompt',
  systemHelp: 'What the model is told before the conversation begins.',
  tools: 'Tools',
  toolsHelp: 'A JSON list of functions that the model may call, as in OpenAI’s API. You give the results.',
  badTools: 'Tools: expected a JSON list of functions.',
  temperature: 'Temperature',
  temperatureHelp: '0 takes the likeliest token every time.',
  topK: 'Top-k',
  topP: 'Top-p',
  minP: 'Min-p',
  presencePenalty: 'Presence penalty',
  frequencyPenalty: 'Frequency penalty',
  repeatPenalty: 'Repetition penalty',
  maxTokens: 'Most tokens of an answer',
  seed: 'Seed',
  byDefault: 'Empty fields are what the model’s file or its makers recommend.',
  recommended: 'recommended',
  defaultUnknown: { max_tokens: 'no limit', seed: 'random' },
  outOfRange: (name, min, max, isWhole) => `${name}: expected a ${isWhole ? 'whole ' : ''}number from ${min} to ${max}.`,
  reset: 'Empty all fields',
  save: 'Save',
  close: 'Close',

  // Dialogs.
  title: 'Title',
  renameTitle: 'Rename chat',
  deleteTitle: 'Delete this chat?',
  deleteText: (title) => `“${title}” and its pictures are removed from this browser for good.`,
  keyTitle: 'This server asks for a key',
  keyText: 'It is the text given to the server with --api-key or --api-key-file. This tab keeps it until it is closed.',
  keyWrong: 'That was not the key.',
  key: 'Key',
  useKey: 'Use key',

  // What goes wrong.
  loading: 'The model is being loaded.',
  unreachable: 'The server does not answer. Trying again.',
  back: 'The server is there again.',
  kept: 'This browser keeps nothing for this page: chats are lost when it is closed. Export those you need.',
  full: 'The browser has no room for more: export and delete chats.',
  tooLong: (prompt, most) =>
    `The conversation has ${many(prompt, 'token', 'tokens')}, and the model holds ${number.format(most)}. ` +
    'Edit an earlier message, or begin a new chat.',
  busy: (after) => `Too many are asking. Try again in ${many(after || 1, 'second', 'seconds')}.`,
  wantsKey: 'The server asks for its key.',
  refused: (message) => `The server says: ${message}`,
};

/** What a fault is to the reader. */
export function wordsOf(fault) {
  switch (fault.kind) {
    case 'key': return words.wantsKey;
    case 'loading': return words.loading;
    case 'busy': return words.busy(fault.retryAfter);
    case 'unreachable': return words.unreachable;
    case 'length': return fault.most ? words.tooLong(fault.prompt, fault.most) : words.refused(fault.message);
    case 'refused': return words.refused(fault.message);
    default: return words.unreachable;
  }
}

/** Puts the words into the parts of the page that are there from the start. */
export function fillIn(root) {
  for (const element of root.querySelectorAll('[data-text]')) element.textContent = words[element.dataset.text];
  for (const element of root.querySelectorAll('[data-text-beside]')) {
    const text = document.createElement('span');
    text.textContent = words[element.dataset.textBeside];
    element.append(text);
  }
  for (const element of root.querySelectorAll('[data-label]')) {
    const name = words[element.dataset.label];
    element.setAttribute('aria-label', name);
    if (element.localName === 'button') element.title = name;
  }
  for (const element of root.querySelectorAll('[data-placeholder]')) {
    element.placeholder = words[element.dataset.placeholder];
  }
}
