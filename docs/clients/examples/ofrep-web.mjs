import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

await OpenFeature.setContext({ targetingKey: 'carol' }); // who has signed in
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: 'http://127.0.0.1:8016' }));
const client = OpenFeature.getClient();

const show = () => console.log(client.getBooleanValue('api-access', false) ? 'the API is there' : 'the API costs more');
show();
client.addHandler(ProviderEvents.ConfigurationChanged, show); // the server has told of a change
