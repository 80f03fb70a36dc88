// The waiting page in a real browser: every state in light and dark, on a phone and a desk, in
// several languages; live, without events, without JavaScript, without lineq-web. Leaves a picture
// of every state behind.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';
import {axeProblems, dressed, launch, shots, Stage, THEMES, until, WIDTHS} from './stage.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

// The page of visitor `who`, as HAProxy would send the request.
async function open(stage, who, options = {}, where = '/tickets?day=2') {
  const context = await browser.newContext({
    viewport: WIDTHS.desktop, locale: 'en', ...options,
    extraHTTPHeaders: {'X-LineQ-Key': who + '@shop'},
  });
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  page.on('dialog', (dialog) => { page.errors.push('a dialog opened'); dialog.dismiss(); });
  await page.goto(stage.url + where);
  return page;
}
async function close(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}
const text = (page, id) => page.locator('#' + id).textContent();
const says = (page, id, words) => until(async () => (await text(page, id)).includes(words), `${id}: ${words}`);
// What lineq-web would answer beside: the site, for whoever is let in.
const letIn = (page) => page.route('**/*', async (route) => {
  const answer = await route.fetch({maxRedirects: 0}).catch(() => null);
  if (!answer) return route.abort();
  if (answer.status() === 303) return route.fulfill({status: 200, contentType: 'text/html', body: '<title>the shop</title><h1>the shop</h1>'});
  return route.fulfill({response: answer});
});
const sideways = (page) => page.evaluate(() =>
  document.documentElement.scrollWidth - document.documentElement.clientWidth);

async function queue(...words) {
  const stage = await new Stage('LINEQ_QUEUE_SCENE').open();
  await stage.play('open', ...words);
  // lineq-web looks for the segment now and then.
  await until(async () => (await fetch(stage.url + '/x', {headers: {'X-LineQ-Key': 'v1@shop'}})).headers.has('LineQ-Room'), 'the room');
  return stage;
}

describe('every state in every dress', () => {
  let stage;
  before(async () => { stage = await queue('flow 4', 'queue 40'); });
  after(() => stage.close());

  const states = [
    {name: 'waiting-middle', who: 'v23', words: 'You are in line', position: '23'},
    {name: 'waiting-first', who: 'v1', words: 'You are in line', position: '1'},
    {name: 'message', play: ['message The doors open at 10:00. One ticket for each visitor, please.'], who: 'v12', words: 'You are in line', position: '12'},
    {name: 'registering', play: ['message '], who: 'stranger', words: 'Finding your place'},
    {name: 'random', play: ['method random'], who: 'v12', words: 'You are in line'},
    {name: 'paused', play: ['method fifo', 'pause on'], who: 'v12', words: 'You are in line', note: 'Nobody is being let in'},
    {name: 'queue-all', play: ['pause off', 'all on'], who: 'v12', words: 'You are in line', note: 'Nobody is being let in'},
    {name: 'unknown-wait', play: ['all off', 'still'], who: 'v12', words: 'You are in line'},
    {name: 'template-error', play: ['flow 4', 'template /nowhere/page.html'], who: 'v12', words: 'You are in line', position: '12'},
    {name: 'rejected', play: ['template ', 'method reject'], who: 'stranger', words: 'No more visitors'},
    {name: 'away', play: ['method fifo', 'die'], who: 'v12', words: 'You are in line', note: 'resting'},
  ];
  for (const state of states) {
    it(state.name, async () => {
      await stage.play(...(state.play || []));
      const page = await open(stage, state.who, {bypassCSP: true});
      await says(page, 'headline', state.words);
      if (state.position) assert.equal(await text(page, 'position'), state.position);
      if (state.note) await says(page, 'note', state.note);
      await dressed(page, 'queue-' + state.name);
      await close(page);
    });
  }

  it('your-turn', async () => {
    const other = await queue('flow 4', 'queue 8');
    let n = 0;
    for (const colorScheme of THEMES) {
      for (const [width, viewport] of Object.entries(WIDTHS)) {
        const who = 'v' + ++n;
        const page = await open(other, who, {colorScheme, viewport, bypassCSP: true});
        // The page would go to the site at once.
        await page.route('**/*', (route) => route.request().isNavigationRequest() ? route.abort('aborted') : route.continue());
        await other.play('call ' + who);
        await says(page, 'turn', 'It is your turn');
        await page.screenshot({path: path.join(shots, `queue-your-turn-${width}-${colorScheme}.png`), fullPage: true});
        assert.deepEqual(await axeProblems(page), [], `${width} ${colorScheme}`);
        assert.equal(await sideways(page), 0, `${width}: the page scrolls sideways`);
        await close(page);
      }
    }
    await other.close();
  });
});

describe('languages', () => {
  let stage;
  before(async () => { stage = await queue('flow 4', 'queue 2400'); });
  after(() => stage.close());

  for (const [locale, place] of [['en', '2,345'], ['de', '2.345'], ['es', '2345'], ['fr', '2\u202f345'], ['it', '2.345'],
    ['ja', '2,345'], ['ko', '2,345'], ['nl', '2.345'], ['pl', '2345'], ['pt-BR', '2.345'], ['tr', '2.345'], ['zh-CN', '2,345'],
    ['ar', '٢٬٣٤٥'], ['fa', '۲٬۳۴۵']]) {
    it(locale, async () => {
      const page = await open(stage, 'v2345', {locale, bypassCSP: true});
      assert.equal(await text(page, 'position'), place);
      assert.equal(await page.evaluate(() => document.documentElement.lang), locale);
      for (const [width, viewport] of Object.entries(WIDTHS)) {
        await page.setViewportSize(viewport);
        await page.screenshot({path: path.join(shots, `queue-${locale}-${width}.png`), fullPage: true});
        assert.deepEqual(await axeProblems(page), [], width);
        assert.equal(await sideways(page), 0, `${width}: the page scrolls sideways`);
      }
      await close(page);
    });
  }
});

describe('a page that stays open', () => {
  let stage;
  before(async () => { stage = await queue('flow 30', 'queue 30'); });
  after(() => stage.close());

  it('keeps to its policy and loads nothing', async () => {
    const context = await browser.newContext({extraHTTPHeaders: {'X-LineQ-Key': 'v9@shop'}});
    const page = await context.newPage();
    const complaints = [];
    const asked = [];
    page.on('console', (m) => { if (m.type() === 'error') complaints.push(m.text()); });
    page.on('request', (r) => asked.push(r.url()));
    await page.goto(stage.url + '/');
    await until(() => asked.length > 1, 'the stream');
    assert.deepEqual(complaints, []);
    assert.deepEqual(new Set(asked), new Set([stage.url + '/']));
    assert.ok((await page.content()).length < 20000);
    await context.close();
  });

  it('is live: the place goes up, the title says it, the bar never goes back', async () => {
    const page = await open(stage, 'v10', {bypassCSP: true});
    await says(page, 'position', '10');
    assert.match(await page.title(), /^10 · You are in line · 127\.0\.0\.1$/);
    await stage.play('leave v1', 'leave v2');
    await says(page, 'position', '8');
    assert.match(await page.title(), /^8 · /);
    assert.equal(await text(page, 'ahead'), '7 people are ahead of you.');
    const bar = await page.evaluate(() => document.getElementById('bar').value);
    await stage.play('leave v3');
    await says(page, 'position', '7');
    assert.ok(await page.evaluate(() => document.getElementById('bar').value) >= bar);
    assert.equal(await page.locator('#link').isVisible(), false);
    await close(page);
  });

  it('speaks seldom', async () => {
    const page = await open(stage, 'v20', {bypassCSP: true});
    await page.clock.install();
    await page.reload();
    const before = await text(page, 'position');
    await stage.play('leave v4');
    await until(async () => (await text(page, 'position')) !== before, 'a move');
    assert.equal(await text(page, 'say'), '', 'not at every step');
    await page.clock.fastForward(31000);
    await stage.play('leave v5');
    await until(async () => (await text(page, 'say')) !== '', 'words for screen readers');
    assert.match(await text(page, 'say'), /people are ahead of you/);
    await close(page);
  });

  it('lets in by itself, fast, and says so', async () => {
    const page = await open(stage, 'v11', {bypassCSP: true});
    await letIn(page);
    await page.evaluate(() => {
      const turn = document.getElementById('turn');
      new MutationObserver(() => sessionStorage.setItem('turn', turn.getAttribute('role') + ': ' + turn.textContent))
        .observe(turn, {childList: true});
    });
    const called = Date.now();
    await stage.play('call v11');
    await until(async () => (await page.title().catch(() => '')) === 'the shop', 'the shop');
    assert.ok(Date.now() - called < 5000);
    assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, '/tickets?day=2');
    assert.equal(await page.evaluate(() => sessionStorage.getItem('turn')), 'alert: It is your turn');
    await close(page);
  });

  it('says that the connection is lost and until when the place is kept, and comes back', async () => {
    const page = await open(stage, 'v12', {bypassCSP: true});
    await until(() => page.evaluate(() => performance.getEntriesByType('navigation').length > 0), 'the page');
    await stage.stopWeb();
    await until(() => page.locator('#link').isVisible(), 'words');
    assert.match(await text(page, 'link'), /Connection lost\. Your place is kept until \d\d:\d\d/);
    for (const colorScheme of THEMES) {
      await page.emulateMedia({colorScheme});
      await page.screenshot({path: path.join(shots, `queue-lost-desktop-${colorScheme}.png`), fullPage: true});
      assert.deepEqual(await axeProblems(page), []);
    }
    await stage.startWeb();
    await until(async () => !(await page.locator('#link').isVisible()), 'the connection');
    await close(page);
  });

  it('lives through the death of lineqd', async () => {
    const page = await open(stage, 'v13', {bypassCSP: true});
    const place = await text(page, 'position');
    await stage.play('die');
    await says(page, 'note', 'Your place is kept.');
    assert.equal(await text(page, 'position'), place);
    await close(page);
  });
});

describe('what does not work everywhere', () => {
  let stage;
  before(async () => { stage = await queue('flow 60', 'queue 30'); });
  after(() => stage.close());

  it('polls where events do not get through', async () => {
    const page = await open(stage, 'v9', {bypassCSP: true});
    await page.clock.install();
    await page.route('**/*', (route) =>
      route.request().headers().accept === 'text/event-stream' ? route.abort() : route.continue());
    await page.reload();
    await stage.play('leave v1');
    await until(async () => {
      await page.clock.runFor(3000);
      return (await text(page, 'position')) === '8';
    }, 'a poll');
    await stage.play('call v9');
    await page.unroute('**/*');
    await letIn(page);
    await until(async () => {
      await page.clock.runFor(3000).catch(() => {});
      return (await page.title().catch(() => '')) === 'the shop';
    }, 'the shop');
    await close(page);
  });

  it('works without JavaScript', async () => {
    const page = await open(stage, 'v10', {javaScriptEnabled: false, viewport: WIDTHS.phone});
    assert.equal(await text(page, 'position'), '8');
    const content = await page.content();
    assert.match(content, /<meta http-equiv="refresh" content="20">/);
    assert.match(content, /reloads by itself every 20 seconds/);
    await page.screenshot({path: path.join(shots, 'queue-noscript-phone.png'), fullPage: true});
    await close(page);
  });

  it('needs no mouse', async () => {
    await stage.play('method reject');
    const page = await open(stage, 'somebody');
    await says(page, 'headline', 'No more visitors');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Try again');
    assert.equal(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'solid');
    await stage.play('method fifo');
    await page.keyboard.press('Enter');
    await says(page, 'headline', 'Finding your place');
    await close(page);
  });

  it('moves nothing for those who do not want it', async () => {
    const page = await open(stage, 'v10', {reducedMotion: 'reduce'});
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    await close(page);
  });

  it('shows what strangers wrote as text', async () => {
    await stage.play('message <img src=x onerror=alert(1)>"\'{{lang}}');
    const page = await open(stage, 'v10');
    assert.equal(await text(page, 'message'), '<img src=x onerror=alert(1)>"\'{{lang}}');
    assert.equal(await page.locator('img').count(), 0);
    await close(page);
  });

  it("shows the room's own page", async () => {
    const file = path.join(stage.dir, 'page.html');
    writeFileSync(file, '<!doctype html><html lang="{{lang}}"><title>Ours</title><main><h1>Our own page</h1>' +
      '<p id="position">{{position}}</p><p>{{message}}</p></main><script>document.title = "scripted";</script></html>');
    await stage.play('template ' + file);
    const page = await open(stage, 'v10');
    await says(page, 'position', '8');
    assert.equal(await page.title(), 'scripted', 'its own script may run');
    assert.equal(await page.locator('img').count(), 0);
    await close(page);
  });
});
