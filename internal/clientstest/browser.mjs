// What a page has and Node has not: imported before a script that is written for a browser.
import { EventSource } from 'eventsource';

globalThis.EventSource = EventSource;

const kept = new Map();
globalThis.localStorage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, text) => void kept.set(key, String(text)),
  removeItem: (key) => void kept.delete(key),
  key: (i) => [...kept.keys()][i] ?? null,
  get length() {
    return kept.size;
  },
};
