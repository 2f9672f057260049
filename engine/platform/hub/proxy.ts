/**
 * The proxy of the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in capitals or not, as curl and Python's requests take
 * them.
 */
import type { Agent } from "node:http";
import { HttpProxyAgent } from "http-proxy-agent";
import { HttpsProxyAgent } from "https-proxy-agent";
import { getProxyForUrl } from "proxy-from-env";
import { quote } from "../../formats/errors.ts";
import { UsageError } from "../../runtime/errors.ts";

export interface Proxy {
  readonly agent: Agent;
  /** For errors, without a password. */
  readonly name: string;
}

const agents = new Map<string, Proxy>();

/** What an address is to be asked through; undefined: nothing. @throws UsageError for a proxy that is not an http(s) address */
export function proxyFor(url: URL): Proxy | undefined {
  const address = getProxyForUrl(url.href);
  if (address === "") return undefined;
  const key = `${url.protocol} ${address}`;
  const there = agents.get(key);
  if (there) return there;
  const proxy = URL.canParse(address) ? new URL(address) : undefined;
  if (!proxy || !/^https?:$/.test(proxy.protocol)) {
    throw new UsageError(
      `the proxy of the environment is ${quote(address.replace(/\/\/.*@/, "//"))}; ` +
        "an address such as http://proxy.example:8080 is expected",
    );
  }
  const made = {
    agent: url.protocol === "https:" ? new HttpsProxyAgent(proxy) : new HttpProxyAgent(proxy),
    name: `${proxy.protocol}//${proxy.host}`,
  };
  agents.set(key, made);
  return made;
}
