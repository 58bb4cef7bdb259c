// @openfeature/flagd-core over JSON lines: {"load": FILE} takes a flag file and answers {} or
// {"refused": "…"}; {"flag": NAME, "context": {…}, "now": SECONDS} answers {"variant", "value",
// "reason", "errorCode", "unknown"}, where unknown is the result that names no variant.
const readline = require('node:readline');
const { FlagdCore } = require('@openfeature/flagd-core');

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
let core;

function load(file) {
  core = new FlagdCore(undefined, quiet);
  try {
    core.setConfigurations(file);
    return {};
  } catch (err) {
    return { refused: String((err.cause || err).message || err) };
  }
}

function decide({ flag: name, context, now }) {
  Date.now = () => now * 1000;
  const flag = core.getFlag(name);
  const type = flag ? typeof [...flag.variants.values()][0] : 'object';
  const resolve = `resolve${type[0].toUpperCase()}${type.slice(1)}Evaluation`;
  const { value, variant, reason, errorCode, errorMessage = '' } = core[resolve](name, undefined, context);
  const unknown = /^Variant '([^]*)' not found in flag with key '/.exec(errorMessage);
  return { value, variant, reason, errorCode, unknown: unknown ? unknown[1] : undefined };
}

const lines = readline.createInterface({ input: process.stdin, terminal: false });
lines.on('line', (line) => {
  const request = JSON.parse(line);
  process.stdout.write(JSON.stringify(request.load ? load(request.load) : decide(request)) + '\n');
});
