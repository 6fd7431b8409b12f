/* Adds SHIFT seconds to the wall clock and to file times of the processes that load it; see scripts/test-on-date.
 *
 * The monotonic clock stays as it is: waits with a timeout are measured by it. File times that are set to a given time
 * are shifted back, so that they read as they were written.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/stat.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += SHIFT;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int failed = syscall(SYS_gettimeofday, now, zone);
  if (!failed) now->tv_sec += SHIFT;
  return failed;
}

time_t time(time_t *place) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (place) *place = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int fstatat(int folder, const char *restrict path, struct stat *restrict found, int flags) {
  int failed = syscall(SYS_newfstatat, folder, path, found, flags);
  if (!failed) {
    found->st_atim.tv_sec += SHIFT;
    found->st_mtim.tv_sec += SHIFT;
    found->st_ctim.tv_sec += SHIFT;
  }
  return failed;
}

int stat(const char *restrict path, struct stat *restrict found) { return fstatat(AT_FDCWD, path, found, 0); }
int lstat(const char *restrict path, struct stat *restrict found) {
  return fstatat(AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW);
}
int fstat(int file, struct stat *found) { return fstatat(file, "", found, AT_EMPTY_PATH); }

/* On 64-bit systems they are the same, under the names that other programs were linked with. */
int fstatat64(int, const char *restrict, struct stat64 *restrict, int) __attribute__((alias("fstatat")));
int stat64(const char *restrict, struct stat64 *restrict) __attribute__((alias("stat")));
int lstat64(const char *restrict, struct stat64 *restrict) __attribute__((alias("lstat")));
int fstat64(int, struct stat64 *) __attribute__((alias("fstat")));
int __xstat(int v, const char *path, struct stat *found) { return stat(path, found); }
int __lxstat(int v, const char *path, struct stat *found) { return lstat(path, found); }
int __fxstat(int v, int file, struct stat *found) { return fstat(file, found); }
int __fxstatat(int v, int folder, const char *path, struct stat *found, int flags) {
  return fstatat(folder, path, found, flags);
}
int __xstat64(int, const char *, struct stat64 *) __attribute__((alias("__xstat")));
int __lxstat64(int, const char *, struct stat64 *) __attribute__((alias("__lxstat")));
int __fxstat64(int, int, struct stat64 *) __attribute__((alias("__fxstat")));
int __fxstatat64(int, int, const char *, struct stat64 *, int) __attribute__((alias("__fxstatat")));

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
  int failed = syscall(SYS_statx, folder, path, flags, mask, found);
  if (!failed) {
    found->stx_atime.tv_sec += SHIFT;
    found->stx_btime.tv_sec += SHIFT;
    found->stx_ctime.tv_sec += SHIFT;
    found->stx_mtime.tv_sec += SHIFT;
  }
  return failed;
}

static int set_times(int folder, const char *path, const struct timespec given[2], int flags) {
  struct timespec times[2];
  for (int i = 0; given && i < 2; i++) {
    times[i] = given[i];
    if (given[i].tv_nsec != UTIME_NOW && given[i].tv_nsec != UTIME_OMIT) times[i].tv_sec -= SHIFT;
  }
  return syscall(SYS_utimensat, folder, path, given ? times : NULL, flags);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
  return set_times(folder, path, times, flags);
}
int futimens(int file, const struct timespec times[2]) { return set_times(file, NULL, times, 0); }

static int microseconds(int folder, const char *path, const struct timeval given[2], int flags) {
  struct timespec times[2];
  for (int i = 0; given && i < 2; i++)
    times[i] = (struct timespec){given[i].tv_sec, given[i].tv_usec * 1000};
  return set_times(folder, path, given ? times : NULL, flags);
}

int utimes(const char *path, const struct timeval times[2]) { return microseconds(AT_FDCWD, path, times, 0); }
int lutimes(const char *path, const struct timeval times[2]) {
  return microseconds(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}
int futimes(int file, const struct timeval times[2]) { return microseconds(file, NULL, times, 0); }
int futimesat(int folder, const char *path, const struct timeval times[2]) {
  return microseconds(folder, path, times, 0);
}
int utime(const char *path, const struct utimbuf *given) {
  struct timeval times[2];
  if (given) {
    times[0] = (struct timeval){given->actime, 0};
    times[1] = (struct timeval){given->modtime, 0};
  }
  return utimes(path, given ? times : NULL);
}
