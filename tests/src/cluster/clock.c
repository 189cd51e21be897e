// The time of day as the file that $CLOCK_AHEAD names says: so many seconds ahead. Preloaded into a process, it makes
// its clock jump whenever the file changes; all else goes by the kernel's clocks, as after a real jump.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  const char *path = getenv("CLOCK_AHEAD");
  if (result != 0 || clock != CLOCK_REALTIME || path == NULL) return result;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return result;
  char text[32];
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length <= 0) return result;
  text[length] = 0;
  now->tv_sec += strtoll(text, NULL, 10);
  return result;
}
