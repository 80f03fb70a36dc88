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
