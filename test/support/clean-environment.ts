/** An environment for curl, aria2c and the like in which nothing of the machine's proxy or CA settings is left. */
export function cleanEnvironment(home: string): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], HOME: home, LC_ALL: "C" };
}
