// The tokenizer of BERT models: the same ids as the model's tokenizer.json gives, which the site's tests compare.

const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;
const CONTROL = /\p{C}/u;
const CJK = [[0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff], [0x2f800, 0x2fa1f]];
const SPECIAL = /(\[(?:PAD|UNK|CLS|SEP|MASK)\])/; // written out in a text they stand for themselves, as in Python
const LONGEST_WORD = 100;

/** Text without control characters, accents and capitals, with spaces around Chinese characters. */
function normalise(text) {
  const cleaned = [...text]
    .filter((c) => "\t\n\r".includes(c) || (c !== "\0" && c !== "\ufffd" && !CONTROL.test(c)))
    .map((c) => (/\s/u.test(c) ? " " : CJK.some(([low, high]) => low <= c.codePointAt(0) && c.codePointAt(0) <= high) ? ` ${c} ` : c))
    .join("");
  // character by character: a whole string would turn a final Σ into ς
  return [...cleaned.normalize("NFD").replace(/\p{Mn}/gu, "")].map((c) => c.toLowerCase()).join("");
}

function words(text) {
  const found = [];
  for (const part of normalise(text).split(/\s+/u).filter(Boolean)) {
    let word = "";
    for (const c of part) {
      if (PUNCTUATION.test(c)) {
        if (word) found.push(word);
        found.push(c);
        word = "";
      } else word += c;
    }
    if (word) found.push(word);
  }
  return found;
}

export class WordPiece {
  /** @param {string} vocabulary one token a line; its line is its id */
  constructor(vocabulary) {
    this.ids = new Map(vocabulary.split("\n").map((token, id) => [token, id]));
  }

  /** Ids of a text with [CLS] and [SEP], at most `limit` of them. */
  encode(text, limit) {
    const pieces = text
      .split(SPECIAL)
      .flatMap((part) => (SPECIAL.test(part) ? [this.ids.get(part)] : words(part).flatMap((word) => this.pieces(word))));
    return [this.ids.get("[CLS]"), ...pieces.slice(0, limit - 2), this.ids.get("[SEP]")];
  }

  /** A word as its longest known beginnings; wholly unknown when a rest is. */
  pieces(word) {
    const letters = [...word];
    const unknown = [this.ids.get("[UNK]")];
    if (letters.length > LONGEST_WORD) return unknown;
    const found = [];
    for (let start = 0; start < letters.length; ) {
      let end = letters.length;
      let id;
      for (; end > start; end--) {
        id = this.ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return unknown;
      found.push(id);
      start = end;
    }
    return found;
  }
}
