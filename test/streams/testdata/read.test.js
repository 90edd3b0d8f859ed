import { runConformanceTests } from "@durable-streams/server-conformance-tests";

// The suite gives up each request for events after 2 or 5 s, and then finds no
// events in it. A busy machine may need longer: the suite gets ten times that.
// Short delays are left, as those are only there to vary the order of requests.
const { setTimeout } = globalThis;
globalThis.setTimeout = (callback, delay, ...args) =>
  setTimeout(callback, delay >= 500 ? 10 * delay : delay, ...args);

runConformanceTests({
  baseUrl: process.env.CONFORMANCE_TEST_URL,
  longPollTimeoutMs: 120_000, // only for the time-outs of the tests with long polls
});
