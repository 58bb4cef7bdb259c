// What the Node projects of tests have in common when they ask OpenFeature clients.

// Code defaults of each type: with two, none can be mistaken for an answer.
export const fallbacks = {
  boolean: [true, false],
  string: ['code default', 'another code default'],
  number: [-12345, 54321.5],
  object: [{ code: 'default' }, { another: 'code default' }],
};

// Asks for a flag, a code default and, where the client takes one, a context.
export const ask = (client, type, ...rest) =>
  ({
    boolean: () => client.getBooleanDetails(...rest),
    string: () => client.getStringDetails(...rest),
    number: () => client.getNumberDetails(...rest),
    object: () => client.getObjectDetails(...rest),
  })[type]();

// JSON that is the same for equal values.
export const stable = (value) =>
  JSON.stringify(value, (_, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
