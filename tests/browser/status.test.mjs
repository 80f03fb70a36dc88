// The status page in a real browser, as a whole: that it stays live and calm, says what is wrong, and
// can be used by keyboard alone.
import assert from 'node:assert/strict';
import path from 'node:path';
import {after, before, describe, it} from 'node:test';
import {closePage as close, launch, openStatus, says, shots, Stage, until} from './stage.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const open = (...what) => openStatus(browser, ...what);

describe('a page that stays open', () => {
  let stage;
  let page;
  before(async () => {
    stage = await new Stage().open();
    page = await open(stage);
  });
  after(async () => {
    await close(page);
    await stage.close();
  });

  it('keeps to its policy and loads nothing from elsewhere', async () => {
    const theatre = await new Stage().open();
    await theatre.play('open', 'busy', 'rooms');
    const other = await browser.newContext();
    const second = await other.newPage();
    const complaints = [];
    const asked = [];
    second.on('console', (m) => { if (m.type() === 'error') complaints.push(m.text()); });
    second.on('request', (r) => asked.push(r.url()));
    await second.goto(theatre.url + '/status#room=shop_example_com_');
    await until(() => second.locator('#room-chart canvas').first().isVisible(), 'the chart');
    await second.locator('#room-chart').hover();
    assert.deepEqual(complaints, []);
    assert.deepEqual(asked.filter((url) => !url.startsWith(theatre.url + '/')), []);
    await other.close();
    await theatre.close();
  });

  it('teaches the first steps until a HAProxy is there', async () => {
    await stage.play('open');
    await says(page, 'no HAProxy is connected');
    const lines = await page.locator('#teach-lines').textContent();
    assert.match(lines, /peers lineq\n/);
    assert.match(lines, /server lineq 127\.0\.0\.1:11111/);
    await stage.play('busy');
    await says(page, 'All well: 4 HAProxys in sync');
    assert.equal(await page.locator('#teach').isVisible(), false);
  });

  it('shows names from strangers as text', async () => {
    const names = await page.locator('#peers .name').allTextContents();
    assert.ok(names.includes('<img src=x onerror=alert(1)>'), names.join());
    assert.equal(await page.locator('main img, main script').count(), 0);
  });

  it('is live, and nothing jumps when numbers change', async () => {
    const places = () => page.evaluate(() => [...document.querySelectorAll('h2, #peers td, #tables td, .figures dd')]
      .map((node) => { const r = node.getBoundingClientRect(); return [r.x, r.y, r.width, r.height].join(); }).join(';'));
    const rates = () => page.locator('#peers .c-rate').allTextContents().then((all) => all.join());
    await until(async () => /\d,\d{3}/.test(await rates()), 'rates');
    const where = await places();
    for (let i = 0; i < 4; ++i) {
      const before = await rates();
      await until(async () => (await rates()) !== before, 'another rate');
      assert.equal(await places(), where);
    }
    assert.equal(await page.locator('#link').textContent(), 'live');
  });

  it('goes through the entries of a table page by page', async () => {
    await page.getByRole('button', {name: 'users'}).click();
    const keys = page.locator('#entries tbody td.key');
    await until(async () => (await keys.count()) === 50, 'a page');
    const first = await keys.first().getAttribute('data-key');
    assert.match(await keys.first().textContent(), /…/);
    await page.getByLabel('whole keys').check();
    assert.equal(await keys.first().textContent(), first);
    await page.getByRole('button', {name: 'Next page'}).click();
    await until(async () => (await keys.first().getAttribute('data-key')) !== first, 'the next page');
    await page.getByRole('searchbox', {name: 'Key'}).fill(first);
    await page.keyboard.press('Enter');
    await until(async () => (await keys.count()) === 1, 'the one entry');
    assert.equal(await keys.first().textContent(), first);
    await page.getByRole('searchbox', {name: 'Key'}).fill('nobody');
    await page.keyboard.press('Enter');
    await until(async () => (await page.locator('#entries-note').textContent()).includes('no entry'), 'no entry');
    await page.getByRole('button', {name: '/section/sticky'}).click();
    await until(async () => (await keys.count()) === 2, 'hostile keys');
    const shown = (await keys.allTextContents()).sort();
    assert.deepEqual(shown, ['"><script>alert(1)</script>', 'café \\xff\\xfe']);
    await page.getByRole('button', {name: 'Close'}).click();
    assert.equal(await page.locator('#entries-section').isVisible(), false);
  });

  it('can be used by keyboard alone', async () => {
    const desk = await open(stage);
    await says(desk, 'All well');
    const focused = () => desk.evaluate(() => document.activeElement.textContent);
    await desk.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to content');
    for (let i = 0; i < 10 && await focused() !== 'users'; ++i) await desk.keyboard.press('Tab');
    assert.equal(await focused(), 'users');
    const outline = await desk.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid', 'the focus can be seen');
    await desk.keyboard.press('Enter');
    await until(() => desk.locator('#entries tbody tr').first().isVisible(), 'entries');
    assert.equal(await desk.evaluate(() => document.activeElement.id), 'entries-title');
    await close(desk);
  });

  it('says when lineq-web is away, and comes back by itself', async () => {
    await stage.stopWeb();
    await until(async () => (await page.locator('#link').textContent()).includes('no connection since'), 'no connection');
    await page.screenshot({path: path.join(shots, 'lost-desktop-light.png'), fullPage: true});
    await stage.startWeb();
    await until(async () => (await page.locator('#link').textContent()) === 'live', 'live again');
  });

  it('names trouble, in the title too, and all is well when it is over', async () => {
    await stage.play('trouble');
    await says(page, 'need attention');
    const problems = await page.locator('#problems').textContent();
    assert.match(problems, /hap-ams1 \(10\.30\.0\.11\) has been down/);
    assert.match(problems, /hap-fra2 \(10\.20\.0\.12\) is 52,300 changes behind/);
    assert.match(problems, /2 connections turned away/);
    assert.match(await page.title(), /^▲ /);
    await page.locator('#problems a', {hasText: 'has been down'}).click();
    await until(async () => /^down for /.test(await page.locator('#told-note').textContent()), 'the one that is down');
    assert.match(await page.locator('#told-name').textContent(), /hap-ams1/);
    await page.goBack();
    await until(async () => !await page.locator('#told-section').isVisible(), 'the list again');
  });

  it('says what is wrong with a table of a HAProxy, and shows all tables of one', async () => {
    const other = await new Stage().open();
    await other.play('open', 'busy');
    const desk = await open(other);
    await says(desk, 'All well');
    assert.equal(await desk.locator('#problems li').count(), 0);
    await desk.getByRole('button', {name: 'hap-ams1'}).click();
    const told = desk.locator('#told tbody tr');
    await until(async () => (await told.count()) === 3, 'its tables');
    assert.match(await told.first().textContent(), /as it should be/);
    await other.play('wrong');
    await says(desk, 'need attention');
    const problems = await desk.locator('#problems').textContent();
    assert.match(problems, /hap-ams1 \(10\.30\.0\.11\) lacks tables users and \/section\/sticky, which others have\./);
    assert.match(problems, /hap-fra2 \(10\.20\.0\.12\) defines table \/section\/sticky otherwise than others do\./);
    assert.match(problems, /hap-fra1 \(10\.20\.0\.11\) sends impossible values for table per_address/);
    assert.match(await desk.locator('#told').textContent(), /missing: others have this table/);
    await desk.locator('#told-close').click();
    assert.equal(await desk.locator('#told-section').isVisible(), false);
    await close(desk);
    await other.close();
  });

  it('names a HAProxy that alone is silent about a table', async () => {
    const other = await new Stage().open();
    await other.play('open', 'busy');
    const context = await browser.newContext();
    const desk = await context.newPage();
    await desk.route('**/status/events', (r) => r.abort());
    await desk.route('**/status.json', async (r) => {
      const answer = await r.fetch();
      const state = await answer.json();
      Object.assign(state.peers[0].tables[0], {silent: true, updated_ms: 725000});
      Object.assign(state.peers[1].tables[0], {silent: true, updated_ms: null});
      await r.fulfill({response: answer, json: state});
    });
    await desk.goto(other.url + '/status');
    await says(desk, 'need attention');
    const problems = await desk.locator('#problems').textContent();
    assert.match(problems, /hap-fra1 .* has told nothing about table users for 12 min, while others do\./);
    assert.match(problems, /hap-fra2 .* has told nothing about table users yet, while others do\./);
    await context.close();
    await other.close();
  });

  it('shows waiting rooms, one with its last hour, and passes on what the operator wants', async () => {
    const other = await new Stage().open();
    await other.play('open', 'busy', 'rooms');
    const desk = await open(other);
    const rooms = desk.locator('#rooms tbody tr');
    await until(async () => (await rooms.count()) === 3, 'rooms');
    const row = await rooms.filter({hasText: 'shop_example_com_'}).textContent();
    assert.match(row, /shop\.example\.com\/open/);
    assert.match(row, /4[89]\d of 500[3-6]1,83415 min118240|4[89]\d of 500[3-6]1,83415 min118241/);
    assert.match(await rooms.filter({hasText: 'presale'}).textContent(), /paused: nobody is called/);
    assert.match(await rooms.first().textContent(), /"><img src=x onerror=alert\(1\)>/);
    await desk.getByRole('button', {name: 'shop_example_com_'}).click();
    await until(() => desk.locator('#room-chart canvas').first().isVisible(), 'the chart');
    assert.match(await desk.locator('#room-note').textContent(), /at most 120 new a minute · sessions of 10 min/);
    assert.equal(await desk.locator('#room-capacity').inputValue(), '500');

    const sent = [];
    await desk.route('**/waiting_rooms/**', async (r) => {
      const request = r.request();
      sent.push([request.method(), new URL(request.url()).pathname, request.headers().authorization,
                 request.postDataJSON()]);
      const good = request.headers().authorization === 'Bearer right';
      await r.fulfill({status: good ? 200 : 403, json: good ?
        {success: true, errors: [], messages: [], result: {admitted: 7, revoked: 1}} :
        {success: false, errors: [{code: 403, message: 'the token is wrong'}], messages: [], result: null}});
    });
    const form = desk.locator('#room-form');
    const answer = (words) => until(async () => (await desk.locator('#room-answer').textContent()).includes(words), words);
    await desk.getByRole('button', {name: 'Pause'}).click();
    await answer('token is missing');
    assert.equal(sent.length, 0);
    await form.getByLabel('Admin token').fill('wrong');
    await desk.getByRole('button', {name: 'Pause'}).click();
    await answer('the token is wrong');
    await form.getByLabel('Admin token').fill('right');
    await desk.getByRole('button', {name: 'Pause'}).click();
    await answer('Paused');
    await form.getByLabel('Places').fill('700');
    await desk.getByRole('button', {name: 'Set', exact: true}).click();
    await answer('Set.');
    await form.getByLabel('Call the next').fill('7');
    await desk.getByRole('button', {name: 'Call', exact: true}).click();
    await answer('7 visitors called.');
    await form.getByLabel('Session').fill('abc');
    await desk.getByRole('button', {name: 'End it'}).click();
    await answer('1 session ended.');
    await form.getByLabel('Message').fill('Back at noon');
    await desk.getByRole('button', {name: 'Show it'}).click();
    await answer('Shown to all');
    const path = '/waiting_rooms/shop_example_com_';
    assert.deepEqual(sent.slice(1), [
      ['PATCH', path, 'Bearer right', {paused: true}],
      ['PATCH', path, 'Bearer right', {total_active_users: 700, new_users_per_minute: 120}],
      ['POST', path + '/actions', 'Bearer right', {action: 'admit', count: 7}],
      ['POST', path + '/actions', 'Bearer right', {action: 'revoke', session: 'abc'}],
      ['PATCH', path, 'Bearer right', {message: 'Back at noon'}]]);
    assert.match(await desk.locator('#room-token').getAttribute('type'), /password/);
    await desk.locator('#room-close').click();
    assert.equal(await desk.locator('#room-section').isVisible(), false);
    await close(desk);
    await other.close();
  });

  it('marks what it shows as old while the daemon is away', async () => {
    await stage.play('die');
    await until(() => page.evaluate(() => document.body.classList.contains('stale')), 'stale');
    assert.match(await page.locator('#problems').textContent(), /lineqd is not running/);
    assert.match(await page.locator('#tables-title').textContent(), /as of \d/);
    assert.equal(await page.locator('#figure-in').textContent(), '–');
    for (const rates of ['#peers .c-rate:not(th)', '#tables .c-rate:not(th)']) {
      assert.deepEqual([...new Set(await page.locator(rates).allTextContents())], ['–'], rates);
    }
    await stage.play('open', 'busy');
    await until(() => page.evaluate(() => !document.body.classList.contains('stale')), 'fresh');
  });
});

describe('where events do not get through', () => {
  let stage;
  before(async () => {
    stage = await new Stage().open();
    await stage.play('open', 'busy');
  });
  after(() => stage.close());

  it('polls', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.route('**/status/events', (route) => route.abort());
    await page.goto(stage.url + '/status');
    await until(async () => (await page.locator('#link').textContent()).includes('by polling'), 'polling');
    await says(page, 'All well');
    await context.close();
  });

  it('says what to do without JavaScript', async () => {
    const context = await browser.newContext({javaScriptEnabled: false});
    const page = await context.newPage();
    await page.goto(stage.url + '/status');
    assert.match(await page.locator('main').textContent(), /needs JavaScript/);
    await context.close();
  });
});
