// What is known of the server: whether it is there, its models, and what their files recommend.

import { getJson, getJsonIfThere, hasKey, useKey } from './api.js';
import { askKey } from './dialogs.js';
import { words, wordsOf } from './strings.js';

/** Time between two attempts to reach it. */
const PAUSE_MS = 1500;

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

export class Server {
  /** `notice(text)` says how it stands, with no text that all is well; `onModels()` is called when the models are known. */
  constructor({ notice, onModels }) {
    Object.assign(this, { notice, onModels });
    this.models = [];
    this.ready = null;
  }

  /** Waits until it has a model. */
  connect() {
    this.ready ??= this.find();
    return this.ready;
  }

  /** It is lost: from now on it is looked for. */
  lose() {
    if (this.isThere) this.ready = null;
    this.isThere = false;
    return this.connect();
  }

  async find() {
    let wasMissing = false;
    for (;;) {
      try {
        await getJson('health');
        const { data } = await getJson('v1/models');
        this.models = data.map((model) => ({
          id: model.id,
          context: model.meta?.n_ctx,
          canSee: model.architecture?.input_modalities?.includes('image') ?? false,
          defaults: {},
        }));
        this.isThere = true;
        this.notice('', wasMissing ? words.back : '');
        this.onModels();
        return;
      } catch (fault) {
        if (fault.kind === 'key') {
          await this.getKey();
        } else {
          wasMissing = true;
          this.notice(wordsOf(fault));
          await pause();
        }
      }
    }
  }

  /** Asks for the key; without one there is nothing to be had, and a notice says so until it is asked for again. */
  async getKey() {
    const wasWrong = hasKey();
    for (;;) {
      const key = await askKey(wasWrong);
      if (key !== null) {
        useKey(key);
        return;
      }
      await new Promise((resolve) => this.notice(words.wantsKey, '', { name: words.key, act: resolve }));
    }
  }

  /** Takes what `/props` says of a model: more once it is loaded. */
  async learn(model) {
    const props = await getJsonIfThere(`props?model=${encodeURIComponent(model.id)}`).catch(() => null);
    const settings = props?.default_generation_settings;
    model.context = settings?.n_ctx ?? model.context;
    model.canSee = props?.modalities?.vision ?? model.canSee;
    model.defaults = settings?.params ?? model.defaults;
    model.thinks = props?.thinking?.default ?? model.thinks;
  }
}
