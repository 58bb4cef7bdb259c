import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { FlagdWebProvider } from '@openfeature/flagd-web-provider';

await OpenFeature.setContext({ targetingKey: 'carol' }); // who has signed in
await OpenFeature.setProviderAndWait(new FlagdWebProvider({ host: '127.0.0.1', port: 8013, tls: false }));
const client = OpenFeature.getClient();

const show = () => console.log(client.getBooleanValue('api-access', false) ? 'the API is there' : 'the API costs more');
show();
client.addHandler(ProviderEvents.ConfigurationChanged, show); // the server has told of a change
