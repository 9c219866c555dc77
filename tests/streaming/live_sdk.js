// A live stream by Deepgram's own SDK. node live_sdk.js KEY PORT AUDIO: prints a line of JSON with what came.
const fs = require('fs');
const { DeepgramClient } = require('@deepgram/sdk');

const [key, port, file] = process.argv.slice(2);
const http = `http://127.0.0.1:${port}`;
const ws = `ws://127.0.0.1:${port}`;
const client = new DeepgramClient({
  apiKey: key, environment: { base: http, production: ws, agent: ws, agentRest: http } });

(async () => {
  const connection = await client.listen.v1.connect({
    model: 'nova-3', encoding: 'linear16', sample_rate: 16000, interim_results: 'true', smart_format: 'true' });
  const messages = [];
  connection.on('message', (message) => messages.push(message));
  connection.on('error', (error) => { console.error(error); });
  const closed = new Promise((resolve) => connection.on('close', (event) => resolve(event.code)));
  connection.connect();
  await connection.waitForOpen();
  const audio = fs.readFileSync(file);
  for (let at = 0; at < audio.length; at += 3200) connection.sendMedia(audio.subarray(at, at + 3200));
  connection.sendKeepAlive({ type: 'KeepAlive' });
  connection.sendCloseStream({ type: 'CloseStream' });
  const code = await closed;
  console.log(JSON.stringify({ code, messages }));
  process.exit(0);
})();
