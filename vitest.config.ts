import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** Linux on x64 or arm64; elsewhere the portable wire is the only one. */
const kernelWire = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch)

export default defineConfig({
  test: {
    // Many tests wait for timers, sockets and processes: more of them at once than cores to run them.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**'],
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        // The tests that open sockets, once more on the kernel wire.
        test: {
          name: 'kernel',
          include: kernelWire
            ? ['test/hostile/**/*.test.ts', 'test/proxy/**/*.test.ts', 'test/faults/**/*.test.ts']
            : [],
          env: { SALLYPORT_TEST_WIRE: 'kernel' },
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          // They share ports below 1024, network namespaces and the docker daemon.
          fileParallelism: false,
        },
      },
    ],
  },
})
