// The status page in a real browser: what it shows in every state, in light and dark, on a phone and
// a desk. Leaves a picture of every state behind.
import {after, before, describe, it} from 'node:test';
import {closePage as close, dressed, launch, openStatus, says, Stage, until} from './stage.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const open = (...what) => openStatus(browser, ...what);

describe('every state in every dress', () => {
  let stage;
  before(async () => { stage = await new Stage().open(); });
  after(() => stage.close());

  const states = [
    {name: 'no-segment', play: [], words: 'attention'},
    {name: 'empty', play: ['open'], words: 'no HAProxy is connected'},
    // From here on with a million entries in the segment.
    {name: 'busy', play: ['busy', 'fill 1000000'], words: 'All well'},
    {name: 'entries', play: [], words: 'All well', fragment: '#entries=per_address',
     ready: (page) => page.locator('#entries tbody tr').first().isVisible()},
    {name: 'haproxy', play: [], words: 'All well', fragment: '#haproxy=1',
     ready: (page) => page.locator('#told tbody tr').first().isVisible()},
    {name: 'rooms', play: ['rooms'], words: 'All well', fragment: '#room=shop_example_com_',
     ready: async (page) => (await page.locator('#room-chart canvas').count()) > 0},
    {name: 'wrong', play: ['wrong'], words: 'need attention', fragment: '#haproxy=2',
     ready: async (page) => (await page.locator('#told').textContent()).includes('missing')},
    {name: 'trouble', play: ['trouble'], words: 'need attention'},
    {name: 'stalled', play: ['stall'], words: 'attention',
     ready: (page) => page.evaluate(() => document.body.classList.contains('stale'))},
    {name: 'down', play: ['die'], words: 'attention', fragment: '#haproxy=2',
     ready: async (page) => (await page.locator('#problems').textContent()).includes('not running')},
  ];
  for (const state of states) {
    it(state.name, async () => {
      await stage.play(...state.play);
      const page = await open(stage, {bypassCSP: true}, state.fragment);
      await says(page, state.words);
      if (state.ready) await until(() => state.ready(page), state.name);
      await dressed(page, state.name);
      await close(page);
    });
  }
});
