// A transcript as passages: who says what, when. Nothing here knows the page.

const PAUSE_SECONDS = 2;
// A long passage ends at the end of a sentence, and in the end without one.
const LONG_WORDS = 60;
const LONGEST_WORDS = 150;
const SENTENCE_END = /[.?!…。！？]["'”’»)\]]*$/;
const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Myanmar}\\p{Script=Khmer}\\u3001-\\u303f\\uff01-\\uff65ー";
const ENDS_UNSPACED = new RegExp(`[${UNSPACED}]$`, "u");
const BEGINS_UNSPACED = new RegExp(`^[${UNSPACED}]`, "u");

export const voiceKey = (channel, speaker) => `${channel ?? ""}:${speaker ?? ""}`;

export const voiceLabel = (channel, speaker) =>
  [channel === null ? "" : `Channel ${channel + 1}`, speaker === null ? "" : `Speaker ${speaker + 1}`]
    .filter(Boolean)
    .join(", ");

// Whether a space stands between two words.
export const spaced = (before, after) => !(ENDS_UNSPACED.test(before) && BEGINS_UNSPACED.test(after));

export const squeezed = (text) => text.replace(/\s+/gu, " ").trim();

// What some words read, by their places.
export const textOf = (words, places) => squeezed(places.reduce((text, at, index) => {
  const space = index && spaced(words[places[index - 1]][0], words[at][0]) ? " " : "";
  return text + space + words[at][0];
}, ""));

// Words as the server gives them, `[text, start, end, confidence, speaker, channel, paragraph]`, as passages in order
// of time: `{channel, speaker, start, words: [places], text}`. A word without a speaker is the one's before it.
// Where people said that a passage begins, or does not, changes nothing of where the next one does by itself.
export const turnsOf = (words) => {
  const turns = [];
  const last = new Map();
  words.forEach(([text, start, end, , said, channel, paragraph], at) => {
    const before = last.get(channel);
    const speaker = said ?? before?.turn.speaker ?? null;
    const another = !before || before.turn.speaker !== speaker;
    const isLong = before && (before.length >= LONGEST_WORDS
      || (before.length >= LONG_WORDS && SENTENCE_END.test(before.text)));
    const begins = another || isLong || start - before.end >= PAUSE_SECONDS;
    let turn = before?.turn;
    if (another || (paragraph ?? begins)) {
      turn = { channel, speaker, start, words: [] };
      turns.push(turn);
    }
    turn.words.push(at);
    last.set(channel, { turn, text, end, length: begins ? 1 : before.length + 1 });
  });
  for (const turn of turns) {
    turn.text = textOf(words, turn.words);
  }
  return turns;
};

// The passage that a change was made to: the same text at the same time, or else the nearest with that text.
export const turnFor = (turns, { before, start, channel }) => {
  const same = turns.filter((turn) => turn.text === before && turn.channel === channel);
  same.sort((one, other) => Math.abs(one.start - start) - Math.abs(other.start - start));
  return same[0];
};

// Where `what` stands in a text: `[[from, to], …]`.
export const found = (text, what, { matchCase, wholeWords }) => {
  if (!what) {
    return [];
  }
  const escaped = what.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const bounded = wholeWords ? `(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])` : escaped;
  const pattern = new RegExp(bounded, matchCase ? "gu" : "giu");
  return [...text.matchAll(pattern)].map((match) => [match.index, match.index + match[0].length]);
};
