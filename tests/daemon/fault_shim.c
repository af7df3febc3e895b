/* Preloaded into a daemon under test: calls on files below FAULT_BELOW fail, and the wall clock is another.
 * FAULT_FILE is mapped: { errno of writes, errno of reads, seconds to add to the wall clock, seconds that the host has
 * slept }, all int64. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *faults;

__attribute__((constructor)) static void map_faults(void) {
  const char *path = getenv("FAULT_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *at = mmap(NULL, 32, PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) faults = at;
  close(file);
}

static int is_below(int file) {
  char link[32], path[4096];
  const char *below = getenv("FAULT_BELOW");
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0 || !below) return 0;
  path[size] = 0;
  return strstr(path, below) != NULL;
}

static int fails(int file, int which) {
  if (!faults || !faults[which] || !is_below(file)) return 0;
  errno = (int)faults[which];
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OVERLAY(type, name, which, parameters, arguments) \
  type name parameters { return fails(file, which) ? -1 : REAL(name) arguments; }

OVERLAY(ssize_t, write, 0, (int file, const void *data, size_t size), (file, data, size))
OVERLAY(ssize_t, pwrite, 0, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
OVERLAY(ssize_t, pwrite64, 0, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
OVERLAY(ssize_t, pread, 1, (int file, void *data, size_t size, off_t at), (file, data, size, at))
OVERLAY(ssize_t, pread64, 1, (int file, void *data, size_t size, off64_t at), (file, data, size, at))
OVERLAY(int, fsync, 0, (int file), (file))
OVERLAY(int, fdatasync, 0, (int file), (file))
OVERLAY(int, ftruncate, 0, (int file, off_t size), (file, size))
OVERLAY(int, ftruncate64, 0, (int file, off64_t size), (file, size))

int clock_gettime(clockid_t clock, struct timespec *out) {
  int answer = REAL(clock_gettime)(clock, out);
  if (answer == 0 && clock == CLOCK_REALTIME && faults) out->tv_sec += faults[2] + faults[3];
  if (answer == 0 && clock == CLOCK_BOOTTIME && faults) out->tv_sec += faults[3];
  return answer;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  int answer = REAL(gettimeofday)(out, zone);
  if (answer == 0 && faults) out->tv_sec += faults[2] + faults[3];
  return answer;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
