#!/usr/bin/env node
// Verifies an audit log of hauberk; written against docs/audit-format.md alone, for Node 18 or later and nothing else.
//
//   node verify-audit.js audit.jsonl KEY-FILE
//
// KEY-FILE is the key of the log, or the escrow where the key goes forward. Prints "whole: N entries" and exits 0, or
// "FILE:LINE: what is wrong" for the first break and exits 1; exits 2 where there was nothing to verify, or no way to.
// Logs of other writers (audit.1.jsonl) are logs of their own: call it once for each. It reads no checkpoints, so it
// does not see that the end of a log is missing, and takes a log that was pruned for one whose beginning is missing.
"use strict";
const assert = require("node:assert"), crypto = require("node:crypto"), fs = require("node:fs"), path = require("node:path");
const { pipeline } = require("node:stream"), { createGunzip } = require("node:zlib");

const LONGEST = 262144;
const ENTRY = new RegExp('^\\{"format":"hauberk-audit/1",.*,"integrity":\\{"sequence":(\\d+),"prev_hash":"((?:hmac-)?sha256:)'
  + '([\\da-f]{64})","key_id":"([\\da-f]{16})(?:\\.([1-9]\\d{0,4})\\.([1-9]\\d{0,17}))?"(,"entry_hash":"\\2([\\da-f]{64})")\\}\\}$', "s");
const derive = (key, purpose) => Buffer.from(crypto.hkdfSync("sha256", key, "", `hauberk/${purpose}/v1`, 32));

function closedFiles(log) { // the oldest first
  const folder = path.dirname(log), prefix = path.basename(log) + ".";
  return fs.readdirSync(folder).filter((name) => name.startsWith(prefix)).flatMap((name) => {
    const [found, number, gz] = /^([1-9]\d*)(\.gz)?$/.exec(name.slice(prefix.length)) ?? [];
    return found ? [{ file: path.join(folder, name), number: Number(number), gz }] : [];
  }).sort((a, b) => a.number - b.number);
}

async function* linesOf(file, gz) { // each with its LF; the last one without, where it has none or is far too long
  const stored = (await fs.promises.open(file)).createReadStream();
  let rest = Buffer.alloc(0);
  for await (const chunk of gz ? pipeline(stored, createGunzip(), () => {}) : stored) {
    rest = Buffer.concat([rest, chunk]);
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.subarray(end + 1)) yield rest.subarray(0, end + 1);
    if (rest.length > LONGEST) break;
  }
  if (rest.length) yield rest;
}

function checker(key) { // a function that takes one line after the other; it returns the entry, or throws what is wrong
  const id = crypto.createHash("sha256").update(derive(key, "key-id")).digest("hex").slice(0, 16);
  let count = 0, before = "0".repeat(64), chain, rung = 0, secret = key, signing = derive(key, "audit-chain");
  return (line) => {
    assert(line.length <= LONGEST && line.at(-1) === 0x0a, "the line is too long or has no end");
    const [all, sequence, , previous, keyId, n, i, part, hash] = ENTRY.exec(line.toString("latin1").slice(0, -1)) ?? [];
    assert(all, "not an entry of the format hauberk-audit/1");
    assert(sequence === String(++count), `entry ${sequence} where entry ${count} belongs`);
    assert(previous === before, "does not follow the entry before it");
    assert(keyId === id, `of the key ${keyId}, not of ${id}`);
    if (count === 1) for (let root = 0; root < Number((chain = n) ?? 0); root++) secret = derive(secret, "audit-root");
    assert(n === chain, "of another chain than the entry before it");
    if (n && i === String(rung + 1)) signing = derive(secret = derive(secret, "audit-rung"), "audit-chain"), rung++;
    assert(!n || i === String(rung), `of rung ${i} after rung ${rung}`);
    before = crypto.createHmac("sha256", signing).update(line.subarray(0, -3 - part.length)).update("}}").digest("hex");
    assert(hash === before, "its bytes are not those that were signed");
    try { return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line)); } catch { assert(false, "not JSON"); }
  };
}

const [log, keyFile, ...more] = process.argv.slice(2), at = { file: log, line: 1 };
async function main() {
  const [, key] = /^hauberk-key-v1:([\w-]{43})\r?\n?$/.exec(keyFile && fs.readFileSync(keyFile, "latin1")) ?? [];
  if (!key || more.length) throw new Error("usage: node verify-audit.js audit.jsonl KEY-FILE (hauberk-key-v1:...)");
  let check = checker(Buffer.from(key, "base64url")), entries = 0, files = 0, last;
  for (const { file, number, gz } of [...closedFiles(log), { file: log }]) {
    Object.assign(at, { file, line: 1 });
    assert(!number || number === ++files, `file ${number} where file ${files} belongs`);
    for await (const line of linesOf(file, gz)) last = check(line), at.line++, entries++;
    assert(!number || (at.line > 1 && last.code === "audit.rotation"), "the closed file ends without its audit.rotation");
  }
  if (!entries) throw new Error(`${log}: no line, so nothing to verify`);
  return console.log(`whole: ${entries} entries`), 0;
}
main().catch((error) => /^(ERR_ASSERTION|Z_)/.test(error.code)
  ? (console.log(`${at.file}:${at.line}: ${error.message}`), 1) : (console.error(error.message), 2))
  .then((status) => { process.exitCode = status; });
