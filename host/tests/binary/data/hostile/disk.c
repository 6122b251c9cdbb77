/* Makes a disk slow or full for the files below a folder. Preloaded into the host.
 *
 * DISK_FOLDER is a part of the paths of these files. DISK_STATE is a file: as long as its first
 * byte is `s`, each flush takes two seconds; as long as it is `f`, no write succeeds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char state(int file) {
    const char *folder = getenv("DISK_FOLDER"), *state = getenv("DISK_STATE");
    char link[64], path[PATH_MAX], first = 0;
    if (!folder || !state) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, folder)) return 0;
    int opened = open(state, O_RDONLY | O_CLOEXEC);
    if (opened < 0) return 0;
    if (read(opened, &first, 1) != 1) first = 0;
    close(opened);
    return first;
}

static int flush(const char *name, int file) {
    int (*original)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (state(file) == 's') sleep(2);
    return original(file);
}

int fsync(int file) { return flush("fsync", file); }
int fdatasync(int file) { return flush("fdatasync", file); }

static ssize_t put(const char *name, int file, const void *bytes, size_t count, off_t at) {
    ssize_t (*original)(int, const void *, size_t, off_t) =
        (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    if (state(file) == 'f') {
        errno = ENOSPC;
        return -1;
    }
    return original(file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return put("pwrite", file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    return put("pwrite64", file, bytes, count, at);
}
