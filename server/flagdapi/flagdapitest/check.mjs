// Usage: node check.mjs HOST PORT cases.json
//
// Asks a running server every case through flagd's provider for Node (gRPC) and for browsers
// (Connect), prints what differs, and exits with 1 if anything does. A case is {story, flag,
// context, want: {value?, variant, reason, errorCode?}}; without want.value the code default must
// come back. Then a line "ready" on standard output asks whoever started us to turn the boolean
// flag "switch" from false to true, a line "changed" to end the server and start it again with
// the flag turned back, and both providers must follow.
import { readFileSync } from 'node:fs';
import { OpenFeature, ProviderEvents } from '@openfeature/server-sdk';
import { FlagdProvider } from '@openfeature/flagd-provider';
import { OpenFeature as WebOpenFeature, ProviderEvents as WebEvents } from '@openfeature/web-sdk';
import { FlagdWebProvider } from '@openfeature/flagd-web-provider';
import { ask, fallbacks, stable } from '../../../internal/npmtest/questions.mjs';

const [host, port, file] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(file, 'utf8'));
const quiet = { error() {}, warn() {}, info() {}, debug() {} };

let wrong = 0;
let asked = 0;

function compare(who, story, want, got) {
  asked++;
  if (stable(want) === stable(got)) return;
  wrong++;
  console.error(`${who}: ${story}\n  want ${stable(want)}\n  got  ${stable(got)}`);
}

const node = new FlagdProvider({ host, port: Number(port), deadlineMs: 10000, cache: 'lru', retryBackoffMs: 100, retryBackoffMaxMs: 200 }, quiet);
await OpenFeature.setProviderAndWait(node);
const server = OpenFeature.getClient();
const web = new FlagdWebProvider({ host, port: Number(port), tls: false, maxDelay: 200 }, quiet);
await WebOpenFeature.setContext({ targetingKey: 'nobody' });
await WebOpenFeature.setProviderAndWait(web);
const browser = WebOpenFeature.getClient();

for (const c of cases) {
  const { variant, reason, errorCode } = c.want;
  const known = c.want.value !== undefined && c.want.value !== null;
  await WebOpenFeature.setContext(c.context);
  for (const type of known ? [typeof c.want.value] : Object.keys(fallbacks)) {
    for (const fallback of fallbacks[type]) {
      const want = { value: known ? c.want.value : fallback, variant, reason, errorCode: errorCode ?? '' };
      for (let again = 0; again < 2; again++) {
        const d = await ask(server, type, c.flag, fallback, c.context);
        const told = d.reason === 'CACHED' && reason === 'STATIC' ? reason : d.reason; // which it may keep
        compare('Node', c.story, want, { value: d.value, variant: d.variant ?? '', reason: told, errorCode: d.errorCode ?? '' });
      }
      // A browser's answers cannot say that a flag is disabled: it finds no value of the type.
      const page = ask(browser, type, c.flag, fallback);
      const seen = { value: page.value, variant: page.variant ?? '', reason: page.reason, errorCode: page.errorCode ?? '' };
      const shown = reason === 'DISABLED' ? { ...want, reason: 'ERROR', errorCode: 'TYPE_MISMATCH' } : want;
      compare('browser', c.story, shown, seen);
    }
  }
}

// follow waits until both providers give the flag "switch" a value.
async function follow(what, value) {
  for (const end = Date.now() + 30000; Date.now() < end; await new Promise((r) => setTimeout(r, 20))) {
    const got = [await server.getBooleanValue('switch', !value, {}), browser.getBooleanValue('switch', !value)];
    if (got.every((v) => v === value)) return;
  }
  wrong++;
  console.error(`${what}: the providers do not come to say ${value}`);
}

const events = [
  new Promise((r) => server.addHandler(ProviderEvents.ConfigurationChanged, (e) => r(e.flagsChanged))),
  new Promise((r) => browser.addHandler(WebEvents.ConfigurationChanged, () => r(['switch']))),
];
await follow('at the beginning', false);
process.stdout.write('ready\n');
await follow('after a change', true);
for (const flags of await Promise.all(events)) {
  if (!flags.includes('switch')) {
    wrong++;
    console.error(`told of changes of ${flags}, and not of switch`);
  }
}
process.stdout.write('changed\n');
await follow('after a restart', false);
await OpenFeature.close();
await WebOpenFeature.close();
console.log(`${cases.length} cases, ${asked} questions, ${wrong} wrong answers`);
process.exit(wrong || !asked ? 1 : 0);
