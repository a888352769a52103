// SPDX-License-Identifier: Apache-2.0
// Martlet, CLinux: Linux calls that Glibc's Swift overlay does not show, and the CRC-32C instruction.
// Owns nothing; every function is a plain call that may be used from any thread.
#pragma once
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/// CRC-32C (Castagnoli, RFC 3720 B.4) of `length` bytes, continuing from `crc` (0 to start).
uint32_t martlet_crc32c(uint32_t crc, const void *bytes, size_t length);

/// memfd_create(2) with MFD_CLOEXEC; -1 and errno on failure.
int martlet_memfd_create(const char *name);

/// pwritev(2); -1 and errno on failure.
ssize_t martlet_pwritev(int fd, const struct iovec *parts, int count, int64_t offset);

/// fdatasync(2); -1 and errno on failure.
int martlet_fdatasync(int fd);

/// flock(2), exclusive, not blocking; -1 and errno on failure (EWOULDBLOCK: another process has it).
int martlet_lock_exclusive(int fd);

/// open(2) without varargs.
int martlet_open(const char *path, int flags, mode_t mode);

/// openat(2) without varargs, with O_CLOEXEC; -1 and errno on failure.
int martlet_openat(int directory, const char *path, int flags, mode_t mode);

/// sem_clockwait(3) on the monotonic clock; 0 when the semaphore was taken, else errno (ETIMEDOUT).
int martlet_sem_wait_until(sem_t *semaphore, const struct timespec *deadline);

/// pthread_setname_np(3) for the calling thread; longer names than 15 bytes are cut.
void martlet_name_thread(const char *name);
