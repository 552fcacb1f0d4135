// An answer in the making: takes the chunks of a stream and puts what they say into a message.

/** Pieces before a rate is shown: the first ones say little. */
const FEW = 8;

export class Answer {
  /** Goes on with `message`, which may have a text already. `now` is a clock in milliseconds. */
  constructor(message, now = () => performance.now()) {
    this.message = message;
    this.now = now;
    /** What is read of the prompt: tokens, and how many there are. */
    this.reading = null;
    this.isStarted = false;
    this.isDone = false;
    this.thinkingSince = null;
    this.firstPiece = null;
    this.pieces = 0;
  }

  /** Takes a chunk. */
  take(chunk) {
    const { message } = this;
    if (chunk.model) message.model = chunk.model;
    if (chunk.prompt_progress) {
      this.reading = { done: chunk.prompt_progress.processed, total: chunk.prompt_progress.total };
    }
    if (chunk.qwen_edge?.stopped) this.remark = chunk.qwen_edge.stopped;
    if (chunk.usage) this.takeUsage(chunk.usage, chunk.timings);
    const choice = chunk.choices?.[0];
    if (!choice) return;
    this.isStarted = true;
    const { reasoning_content: thinking, content: text, tool_calls: calls } = choice.delta ?? {};
    if (thinking || text || calls) this.count();
    if (thinking) {
      this.thinkingSince ??= this.now();
      message.thinking = (message.thinking ?? '') + thinking;
    }
    if (text) {
      this.endThinking();
      message.text += text;
    }
    for (const call of calls ?? []) this.takeCall(call);
    if (choice.finish_reason) {
      this.endThinking();
      this.isDone = true;
      message.end = this.remark ?? choice.finish_reason;
    }
  }

  /** The time of the thinking runs until something else comes. */
  endThinking() {
    if (this.thinkingSince === null) return;
    this.message.thinkingMs = (this.message.thinkingMs ?? 0) + this.now() - this.thinkingSince;
    this.thinkingSince = null;
  }

  takeCall({ index = 0, id, function: named }) {
    this.endThinking();
    const calls = (this.message.calls ??= []);
    const call = (calls[index] ??= { id: id ?? '', name: '', arguments: '' });
    if (named?.name) call.name = named.name;
    call.arguments += named?.arguments ?? '';
  }

  takeUsage(usage, timings = {}) {
    this.message.stats = {
      prompt: usage.prompt_tokens,
      completion: usage.completion_tokens,
      cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
      total: usage.total_tokens,
      readingRate: timings.prompt_per_second,
      writingRate: timings.predicted_per_second,
    };
  }

  count() {
    this.firstPiece ??= this.now();
    this.pieces += 1;
  }

  /** About how many tokens come in a second, once that can be said: most pieces are one. */
  get rate() {
    if (this.pieces < FEW) return null;
    return (1000 * (this.pieces - 1)) / Math.max(this.now() - this.firstPiece, 1);
  }

  /** What happens at the moment: `waiting`, `reading`, `thinking` or `writing`. */
  get phase() {
    if (this.pieces > 0) return this.thinkingSince === null ? 'writing' : 'thinking';
    return this.reading || this.isStarted ? 'reading' : 'waiting';
  }
}
