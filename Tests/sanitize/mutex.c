// SPDX-License-Identifier: Apache-2.0
// Martlet, sanitizers: tells the thread sanitizer about the slow paths of Swift's Mutex.
//
// A Mutex that nobody waits for is locked and unlocked by atomics inlined into Martlet, which the sanitizer sees. One
// that is waited for goes through libswiftSynchronization.so, which is not instrumented: without this, each value
// behind a contended Mutex would be reported. Loaded before that library (LD_PRELOAD); it does nothing in a program
// without the sanitizer. The symbols are Synchronization._MutexHandle's _lockSlow(_:), _tryLockSlow() and _unlockSlow().
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *mutex

static void *original(const char *name) { return dlsym(RTLD_NEXT, name); }

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
SWIFT void lockSlow(uint32_t thread, SELF) __asm__(LOCK);
SWIFT void lockSlow(uint32_t thread, SELF) {
    ((SWIFT void (*)(uint32_t, SELF))original(LOCK))(thread, mutex);
    if (__tsan_acquire) __tsan_acquire(mutex);
}

#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
SWIFT bool tryLockSlow(SELF) __asm__(TRY_LOCK);
SWIFT bool tryLockSlow(SELF) {
    bool taken = ((SWIFT bool (*)(SELF))original(TRY_LOCK))(mutex);
    if (taken && __tsan_acquire) __tsan_acquire(mutex);
    return taken;
}

#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
SWIFT void unlockSlow(SELF) __asm__(UNLOCK);
SWIFT void unlockSlow(SELF) {
    if (__tsan_release) __tsan_release(mutex);
    ((SWIFT void (*)(SELF))original(UNLOCK))(mutex);
}
