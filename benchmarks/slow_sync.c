/* Makes every sync to disk take longer by SLOW_SYNC_US microseconds: a slower disk, for LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int later(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *wait = getenv("SLOW_SYNC_US");
    int result = real(fd);
    if (wait)
        usleep((useconds_t)atoi(wait));
    return result;
}

int fsync(int fd) { return later("fsync", fd); }
int fdatasync(int fd) { return later("fdatasync", fd); }
