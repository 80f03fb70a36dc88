// Entries on the status page, with a million of them in the segment: searched, filtered, sorted, paged,
// live, one with all it has; and lists of a thousand HAProxys and two thousand tables.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {closePage, dressed, launch, openStatus, says, Stage, until} from './stage.mjs';

let browser;
let stage;
before(async () => {
  browser = await launch();
  stage = await new Stage().open();
  await stage.play('open', 'busy', 'parts', 'fill 1000000');
});
after(async () => {
  await stage.close();
  await browser.close();
});
const open = (...what) => openStatus(browser, stage, ...what);
const text = (page, selector) => page.locator(selector).textContent();
const note = (page, words) => until(async () => words.test(await text(page, '#entries-note')), words);
const keys = (page) => page.locator('#entries td.key').evaluateAll((all) => all.map((td) => td.dataset.key));
const column = async (page, n) => (await page.locator(`#entries tbody tr td:nth-child(${n})`).allTextContents())
  .map((words) => Number(words.replaceAll(',', '')));

describe('a million entries', () => {
  let page;
  before(async () => { page = await open({bypassCSP: true}, '#entries=many'); });
  after(() => closePage(page));

  it('are shown a page at a time, there and back', async () => {
    await note(page, /^1–50 of 1,000,000$/);
    assert.match(await text(page, '#entries-facts'), /string 36 · 1,000,000 entries/);
    const first = await keys(page);
    assert.equal(first.length, 50);
    assert.ok(await page.locator('#entries-back').isDisabled());
    await page.getByRole('button', {name: 'Next page'}).click();
    await note(page, /^51–100 of/);
    const second = await keys(page);
    assert.equal(new Set([...first, ...second]).size, 100, 'other entries');
    await page.getByRole('button', {name: 'Next page'}).click();
    await note(page, /^101–150 of/);
    await page.getByRole('button', {name: 'Previous page'}).click();
    await note(page, /^51–100 of/);
    assert.deepEqual(await keys(page), second);
    await page.goBack();
    await note(page, /^101–150 of/);
    const shared = await open({}, new URL(page.url()).hash);
    await note(shared, /^101–150 of/);
    assert.deepEqual(await keys(shared), await keys(page), 'the address shows the same to a colleague');
    await closePage(shared);
    await page.getByRole('button', {name: 'First page'}).click();
    await note(page, /^1–50 of/);
    assert.deepEqual(await keys(page), first);
    assert.equal(await page.locator('#entries tbody tr').count(), 50, 'never more than a page');
  });

  it('are searched', async () => {
    await page.getByLabel('Key contains').fill('12345');
    await page.getByRole('button', {name: 'Search'}).click();
    await note(page, /match/);
    const found = await keys(page);
    assert.ok(found.length > 1 && found.every((key) => key.includes('12345')), found.join());
    await page.getByLabel('Key contains').fill('nobody');
    await page.keyboard.press('Enter');
    await note(page, /no entry like this among 1,000,000/);
    await page.goBack();
    await until(async () => (await page.getByLabel('Key contains').inputValue()) === '12345', 'the search before');
    await page.getByLabel('Key contains').fill('');
    await page.getByRole('button', {name: 'Search'}).click();
    await note(page, /^1–50 of/);
  });

  it('are filtered as HAProxy does it', async () => {
    await page.locator('#filter-column').selectOption('gpc1');
    await page.getByLabel('Comparison').selectOption('gt');
    await page.locator('#filter-value').fill('999990');
    await page.getByRole('button', {name: 'Add filter'}).click();
    await note(page, /^1–10, all that match; the table has 1,000,000$/);
    assert.ok((await column(page, 3)).every((n) => n > 999990));
    await page.locator('#filter-value').fill('show table many data.gpc1 ne 999995 data.gpc1 le 999998');
    await page.keyboard.press('Enter');
    await note(page, /^1–7, all/);
    assert.deepEqual(await page.locator('#filters .mono').allTextContents(),
                     ['gpc1 gt 999990', 'gpc1 ne 999995', 'gpc1 le 999998']);
    await dressed(page, 'filtered');
    await page.getByRole('button', {name: 'Take the filter gpc1 ne 999995 away'}).click();
    await note(page, /^1–8, all/);
    await page.goBack();
    await note(page, /^1–7, all/);
    await page.getByLabel('Key contains').fill('data.gpc1 eq abc');
    await page.keyboard.press('Enter');
    await note(page, /abc.*not allowed/);
  });

  it('are sorted by any column', async () => {
    await page.goto(stage.url + '/status#entries=many');
    await note(page, /^1–50 of/);
    const head = (name) => page.locator('#entries').getByRole('columnheader', {name});
    const press = (name) => head(name).getByRole('button').click();
    const sorted = (name) => head(name).getAttribute('aria-sort');
    await press('gpc1');
    await until(async () => (await column(page, 3))[0] === 1000000, 'the largest');
    assert.equal(await sorted('gpc1'), 'descending');
    assert.deepEqual(await column(page, 3), Array.from({length: 50}, (_, i) => 1000000 - i));
    await page.getByRole('button', {name: 'Next page'}).click();
    await until(async () => (await column(page, 3))[0] === 999950, 'the next largest');
    await note(page, /^51–100 of 1,000,000$/);
    await press('gpc1');
    await until(async () => (await column(page, 3))[0] === 1, 'the smallest');
    assert.equal(await sorted('gpc1'), 'ascending');
    await press('Key');
    await until(async () => (await sorted('Key')) === 'ascending' && (await keys(page))[49].endsWith('49'), 'by key');
    assert.equal(await sorted('gpc1'), null);
    await press('Expires in');
    await until(async () => (await sorted('Expires in')) === 'ascending', 'by expiry');
    await note(page, /^1–50 of 1,000,000$/);
    await page.goBack();
    await until(async () => (await sorted('Key')) === 'ascending', 'as before');
    await dressed(page, 'sorted');
  });
});

describe('entries that change', () => {
  let page;
  before(async () => { page = await open({bypassCSP: true}, '#entries=users&sort=-gpc1'); });
  after(() => closePage(page));

  it('are live, and say what has changed', async () => {
    const numbers = async () => (await column(page, 3)).join();
    await until(async () => (await page.locator('#entries tbody tr').count()) === 50, 'a page');
    const before = await numbers();
    await until(async () => (await numbers()) !== before, 'a change');
    await until(async () => (await page.locator('#entries td.changed').count()) > 0, 'a mark');
  });

  it('are pushed, those on show alone', async () => {
    await until(async () => (await text(page, '#entries-link')) === 'live', 'that changes are pushed');
    const heard = page.heard.map((words) => JSON.parse(words));
    assert.ok(heard.some((news) => news.mode === 'update' && news.entries.length > 0), 'an update was pushed');
    const ids = await page.locator('#entries tbody tr').count();
    assert.ok(heard.every((news) => (news.entries || []).length <= ids), 'of what is on show');
  });

  it('are asked for where nothing is pushed', async () => {
    const context = await browser.newContext();
    const desk = await context.newPage();
    await desk.routeWebSocket('**/ws?*', (socket) => socket.close());
    await desk.goto(stage.url + '/status#entries=users&sort=-gpc1');
    await until(async () => (await text(desk, '#entries-link')) === 'live, by asking again', 'asking');
    const numbers = async () => (await column(desk, 3)).join();
    const before = await numbers();
    await until(async () => (await numbers()) !== before, 'a change');
    await context.close();
  });

  it('can be used by keyboard alone', async () => {
    const desk = await open({}, '#entries=users');
    await until(async () => (await desk.locator('#entries tbody tr').count()) === 50, 'a page');
    const focused = () => desk.evaluate(() => document.activeElement.tagName + ' ' + document.activeElement.textContent);
    const tabTo = async (words) => {
      for (let i = 0; i < 20 && !words.test(await focused()); ++i) await desk.keyboard.press('Tab');
      assert.match(await focused(), words);
    };
    assert.equal(await desk.evaluate(() => document.activeElement.id), 'entries-title');
    await tabTo(/^BUTTON gpc1$/);
    await desk.keyboard.press('Enter');
    await until(async () => new URL(desk.url()).hash === '#entries=users&sort=-gpc1', 'sorted');
    await until(async () => (await desk.locator('#entries th[aria-sort]').textContent()) === 'gpc1', 'shown so');
    await tabTo(/^A .*…/);
    await desk.keyboard.press('Enter');
    await until(() => desk.locator('#entry-section').isVisible(), 'an entry');
    assert.equal(await desk.evaluate(() => document.activeElement.id), 'entry-title');
    await tabTo(/^BUTTON Set the value$/);
    await closePage(desk);
  });

  it('are shown one by one, with all that is known', async () => {
    await page.getByRole('button', {name: 'per_address'}).click();
    await page.getByLabel('Key contains').fill('10.0.0.7');
    await page.getByRole('button', {name: 'Open as key'}).click();
    const values = page.locator('#entry-values');
    await until(async () => /conn_cnt49/.test(await values.textContent()), 'its values');
    assert.match(await values.textContent(), /http_req_rate \/ 10 s\d+bytes_out_cnt4,194,304expires in\d+ min.*expires at\D+\d+, \d{4}/);
    assert.deepEqual(await page.locator('#entry-peers tbody th').allTextContents(), ['hap-fra1', 'hap-fra2']);
    assert.match(await page.locator('#entry-peers tbody tr').first().textContent(), /^hap-fra140/);
    await dressed(page, 'entry');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'entry-title');
    await page.goBack();
    await until(async () => !await page.locator('#entry-section').isVisible(), 'the list again');
    await page.locator('#entries td.key a', {hasText: /^10\.0\.0\.9$/}).click();
    await until(async () => (await text(page, '#entry-key')) === '10.0.0.9', 'another entry');
    await page.getByRole('button', {name: 'Close the entry'}).click();
    await page.getByLabel('Key contains').fill('192.0.2.1');
    await page.getByRole('button', {name: 'Open as key'}).click();
    await until(async () => /no entry with this key/.test(await text(page, '#entry-note')), 'that it is not there');
    assert.ok(await page.getByRole('button', {name: 'Clear the entry'}).isDisabled());
  });
});

describe('a thousand HAProxys and two thousand tables', () => {
  let crowd;
  let page;
  before(async () => {
    crowd = await new Stage().open();
    await crowd.play('open', 'many 1000');
    page = await openStatus(browser, crowd, {bypassCSP: true});
  });
  after(async () => {
    await closePage(page);
    await crowd.close();
  });

  it('are short lists, what is in trouble first', async () => {
    await says(page, 'One thing needs attention');
    assert.match(await text(page, '#peers tbody tr:first-child'), /edge-\d{4}.*down/);
    assert.equal(await page.locator('#peers tbody tr').count(), 20);
    assert.equal(await page.locator('#tables tbody tr').count(), 20);
    await page.getByRole('button', {name: /^Show 100 more of 984/}).click();
    assert.equal(await page.locator('#peers tbody tr').count(), 120);
    assert.match(await text(page, '#problems'),
                 /^10 HAProxys are down: edge-0050 \(10\.9\.0\.50\), edge-0150 .*, edge-0250 .* and 7 more\.$/);
    await page.locator('#problems a').click();
    await page.getByRole('button', {name: 'edge-0150'}).click();
    await until(async () => /edge-0150/.test(await text(page, '#told-name')), 'one that is down');
  });

  it('are found by a word and sorted', async () => {
    await page.getByLabel('Find a HAProxy').fill('edge-0042');
    await until(async () => (await page.locator('#peers tbody tr').count()) === 1, 'one HAProxy');
    await page.getByLabel('Find a table').fill('limit_19');
    await until(async () => (await page.locator('#tables tbody tr').count()) === 20, 'some tables');
    assert.match(await text(page, '#tables-section [role=status]'), /^100 of 2,003$/);
    await dressed(page, 'many');
    await page.getByLabel('Find a table').fill('');
    const entries = page.locator('#tables').getByRole('columnheader', {name: 'Entries'});
    await entries.getByRole('button').click();
    assert.equal(await entries.getAttribute('aria-sort'), 'descending');
    assert.match(await text(page, '#tables tbody tr:first-child'), /^users/);
    await page.getByLabel('Find a table').fill('nothing');
    await until(async () => /none of 2,003/.test(await text(page, '#tables-section [role=status]')), 'that there is none');
  });
});
