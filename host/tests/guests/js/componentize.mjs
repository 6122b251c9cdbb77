// node componentize.mjs SOURCE WIT_DEPS COMPONENT
//
// Builds the component COMPONENT from the script SOURCE. The JavaScript engine supports
// exactly WASI 0.2.10, so the interfaces in WIT_DEPS are renumbered to that version: the
// parts that the engine uses have not changed since.

import { cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { componentize } from '@bytecodealliance/componentize-js';

const ENGINE = '0.2.10';
const wit = 'wit'; // recreated in the working directory
const PACKAGES = ['cli', 'clocks', 'filesystem', 'http', 'io', 'random', 'sockets'];

const [source, interfaces, destination] = process.argv.slice(2);
await rm(wit, { recursive: true, force: true });
for (const name of PACKAGES) {
  const folder = join(wit, 'deps', name);
  await cp(join(interfaces, name), folder, { recursive: true });
  for (const file of await readdir(folder)) {
    const text = await readFile(join(folder, file), 'utf8');
    await writeFile(join(folder, file), text.replaceAll(/\b0\.2\.\d+\b/g, ENGINE));
  }
}
const world = `package galleria:guest;\nworld guest { include wasi:http/proxy@${ENGINE}; }\n`;
await writeFile(join(wit, 'world.wit'), world);

const { component } = await componentize({ sourcePath: source, witPath: wit, worldName: 'guest' });
await writeFile(`${destination}.unfinished`, component);
await rename(`${destination}.unfinished`, destination);
