export default {
  test: {
    sequence: { concurrent: true }, // some tests wait for the end of a long poll
    maxConcurrency: 100,
    testTimeout: 120_000,
  },
};
