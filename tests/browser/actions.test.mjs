// What the operator does on the status page, done by a real lineqd with a million entries, and seen in
// what it keeps afterwards: rooms made, steered and removed; entries that a HAProxy counted, set and cleared.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {closePage, dressed, launch, LiveStage, openStatus, says, until} from './stage.mjs';

let browser;
let stage;
let page;
before(async () => {
  browser = await launch();
  stage = await new LiveStage().open();
  page = await openStatus(browser, stage, {bypassCSP: true});
});
after(async () => {
  await closePage(page);
  await stage.close();
  await browser.close();
});

const text = (selector) => page.locator(selector).textContent();
const answers = (form, words) => until(async () => words.test(await form.locator('.answer').textContent()), words);
const asked = async (words, press) => {
  await until(() => page.locator('#sure').isVisible(), 'a question');
  assert.match(await text('#sure-words'), words);
  await page.locator('#sure').getByRole('button', {name: press, exact: true}).click();
  await until(async () => !await page.locator('#sure').isVisible(), 'no question any more');
};

it('begins with a million entries', async () => {
  await until(async () => Number((await text('#figure-entries')).replaceAll(',', '')) >= 1000000, 'a million');
});

describe('a waiting room', () => {
  let form;
  const room = async () => (await (await fetch(stage.url + '/waiting_rooms/shop_example_com_')).json()).result;

  it('is made', async () => {
    await page.getByRole('link', {name: 'New waiting room'}).click();
    form = page.locator('#make-form');
    await form.getByLabel('Host').fill('shop.example.com');
    await form.getByLabel('Inside at most').fill('200');
    await form.getByLabel('New a minute').fill('60');
    await form.getByRole('button', {name: 'Make the room'}).click();
    await answers(form, /token is missing/);
    await form.getByLabel('Admin token').fill('wrong');
    await form.getByRole('button', {name: 'Make the room'}).click();
    await answers(form, /token/);
    await dressed(page, 'new-room');
    await form.getByLabel('Admin token').fill(LiveStage.token);
    await form.getByLabel('Idle minutes').fill('0');
    await form.getByRole('button', {name: 'Make the room'}).click();
    assert.equal(await form.getByLabel('Idle minutes').evaluate((n) => n.validity.valid), false, 'out of range');
    await form.getByLabel('Idle minutes').fill('3');
    await form.getByLabel('Its name').fill('no room/ of ours');
    await form.getByRole('button', {name: 'Make the room'}).click();
    await answers(form, /name/);
    await form.getByLabel('Its name').fill('');
    await form.getByRole('button', {name: 'Make the room'}).click();
    await until(async () => (await text('#room-name')) === 'shop_example_com_', 'the new room');
    const made = await room();
    assert.deepEqual([made.host, made.path, made.total_active_users, made.new_users_per_minute, made.session_duration],
                     ['shop.example.com', '/', 200, 60, 3]);
    await until(() => page.locator('#room-body').isVisible(), 'its view');
  });

  it('is steered', async () => {
    form = page.locator('#room-form');
    assert.equal(await form.getByLabel('Admin token').inputValue(), LiveStage.token, 'one token for all');
    const press = (name) => form.getByRole('button', {name, exact: true}).click();
    await press('Pause');
    await answers(form, /Paused/);
    assert.equal((await room()).paused, true);
    await press('Resume');
    await answers(form, /Resumed/);
    await press('Queue everybody');
    await answers(form, /Everybody queues/);
    assert.equal((await room()).queue_all, true);
    await press('Let visitors in again');
    await answers(form, /come in again/);
    await press('Suspend');
    await asked(/Suspend shop_example_com_\?/, 'Cancel');
    assert.equal((await room()).suspended, false);
    await press('Suspend');
    await asked(/Everybody who comes is let in/, 'Suspend the room');
    await answers(form, /Suspended/);
    assert.equal((await room()).suspended, true);
    await press('Put back to work');
    await answers(form, /at work again/);
    await form.getByLabel('Places').fill('300');
    await form.getByLabel('New per minute').fill('90');
    await press('Set');
    await answers(form, /Set\./);
    await form.getByLabel('Idle minutes').fill('7');
    await form.getByLabel('Who is next').selectOption({label: 'at random'});
    await press('Set rules');
    await until(async () => (await room()).queueing_method === 'random', 'another method');
    const now = await room();
    assert.deepEqual([now.total_active_users, now.new_users_per_minute, now.session_duration], [300, 90, 7]);
    await press('Call');
    await answers(form, /0 visitors called/);
    await form.getByLabel('Session').fill('nobody');
    await press('End it');
    await answers(form, /./);
    await press('End all sessions');
    await asked(/lose their place/, 'End all sessions');
    await answers(form, /0 sessions ended/);
    await form.getByLabel('Message').fill('Back at noon');
    await press('Show it');
    await answers(form, /Shown to all/);
    assert.equal((await room()).message, 'Back at noon');
    await until(async () => (await text('#room-note')).includes('Back at noon'), 'the message on the page');
    await until(async () => (await page.locator('#room-chart canvas').count()) > 0, 'the chart');
    await dressed(page, 'room');
  });

  it('is removed, once that is confirmed', async () => {
    await form.getByRole('button', {name: 'Remove the room'}).click();
    await until(() => page.locator('#sure').isVisible(), 'a question');
    await dressed(page, 'question');
    await page.keyboard.press('Escape');
    assert.equal((await room()).message, 'Back at noon');
    await form.getByRole('button', {name: 'Remove the room'}).click();
    await asked(/Remove shop_example_com_\?/, 'Remove the room');
    await until(() => page.locator('#room-none').isVisible(), 'no such room');
    assert.equal((await fetch(stage.url + '/waiting_rooms/shop_example_com_')).status, 404);
    await page.locator('#room-section').getByRole('button', {name: 'Close'}).click();
    await until(() => page.locator('#no-rooms-section').isVisible(), 'the way to make one');
    await page.getByRole('link', {name: 'make one here'}).click();
    await until(() => page.locator('#make-section').isVisible(), 'the form');
  });
});

describe('an entry that a HAProxy counted', {skip: LiveStage.haproxy === '' && 'HAProxy is not here'}, () => {
  let form;
  const values = () => page.locator('#entry-values').textContent();
  const kept = async (key) => (await (await fetch(
    stage.url + '/tables?format=v2&table=clients&key=' + encodeURIComponent(key))).json()).tables[0].entries[0];

  before(async () => {
    await stage.visit('alice');
    await page.goto(stage.url + '/status#entries=clients&key=alice');
    await until(async () => /gpc0[1-9]/.test(await values()), 'what HAProxy counted');
    form = page.locator('#entry-form');
  });

  it('is set', async () => {
    await form.getByLabel('Admin token').fill('');
    await form.getByLabel('Set').selectOption('gpc0');
    await form.getByLabel('to', {exact: true}).fill('40');
    await form.getByRole('button', {name: 'Set the value'}).click();
    await answers(form, /token is missing/);
    await form.getByLabel('Admin token').fill('wrong');
    await form.getByRole('button', {name: 'Set the value'}).click();
    await answers(form, /token/);
    await form.getByLabel('Admin token').fill(LiveStage.token);
    await form.getByLabel('to', {exact: true}).fill('many');
    await form.getByRole('button', {name: 'Set the value'}).click();
    await answers(form, /many/);
    await form.getByLabel('to', {exact: true}).fill('40');
    await form.getByLabel('expire in').fill('90');
    await form.getByRole('button', {name: 'Set the value'}).click();
    await answers(form, /Set: gpc0 = 40\./);
    const entry = await kept('alice');
    assert.equal(entry.values.gpc0, 40);
    assert.ok(entry.expires_ms <= 90000, entry.expires_ms);
    await until(async () => /gpc040/.test(await values()), 'the value on the page');
    await dressed(page, 'set');
    await stage.visit('alice');
    await until(async () => (await kept('alice')).values.gpc0 === 41, 'HAProxy counts on from there');
  });

  it('is made', async () => {
    const hostile = 'x"><b>\\xff/%2e';
    await page.goto(stage.url + '/status#' + new URLSearchParams({entries: 'clients', key: hostile}));
    await until(async () => /no entry with this key/.test(await page.locator('#entry-note').textContent()), 'none');
    await form.getByLabel('Set').selectOption('gpt0');
    await form.getByLabel('to', {exact: true}).fill('7');
    await form.getByRole('button', {name: 'Set the value'}).click();
    await answers(form, /Made, with gpt0 = 7\./);
    assert.equal((await kept(hostile)).values.gpt0, 7);
    // Cleared by somebody else while it is looked at.
    await page.goto(stage.url + '/status#entries=clients');
    const row = page.locator('#entries td.key[data-key^="x"]');
    await until(async () => (await row.count()) === 1, 'its row');
    await until(async () => (await page.locator('#entries-link').textContent()) === 'live', 'pushed changes');
    const answer = await fetch(stage.url + '/tables/clients/keys/' + encodeURIComponent(hostile),
                               {method: 'DELETE', headers: {Authorization: 'Bearer ' + LiveStage.token}});
    assert.equal(answer.status, 200);
    await until(() => page.heard.some((words) => JSON.parse(words).mode === 'remove'), 'that it is gone');
    await until(async () => (await row.count()) === 0 || (await page.locator('#entries tr.over').count()) === 1, 'so it is shown');
  });

  it('is cleared, once that is confirmed', async () => {
    await page.goto(stage.url + '/status#entries=clients&key=alice');
    await until(async () => /gpc041/.test(await values()), 'the entry');
    await form.getByRole('button', {name: 'Clear the entry'}).click();
    await asked(/Clear the entry alice of table clients\?/, 'Cancel');
    assert.equal((await kept('alice')).values.gpc0, 41);
    await form.getByRole('button', {name: 'Clear the entry'}).click();
    await asked(/become 0 on every HAProxy/, 'Clear the entry');
    await answers(form, /Cleared\./);
    await until(async () => /no entry with this key/.test(await page.locator('#entry-note').textContent()), 'none left');
    assert.equal(await kept('alice'), undefined);
  });
});
