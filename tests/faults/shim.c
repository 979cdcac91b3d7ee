/* Counts the file calls below one folder and makes one of them fail. Loaded with LD_PRELOAD; Linux with glibc.
 *
 * fault_arm(folder, at, kind) starts counting: the call number `at`, from 1, has the fault `kind`; 0 only counts.
 * fault_count() gives the number of calls since then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, KILL, TEAR, NO_SPACE, IO_ERROR, NO_FILES, INTERRUPTED };
enum call { OPEN, WRITE, SYNC, RENAME, UNLINK };

static char folder[PATH_MAX];
static size_t folder_length;
static long counted, fault_at;
static int fault_kind, armed;

void fault_arm(const char *path, long at, int kind) {
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    counted = 0, fault_at = at, fault_kind = kind, armed = 1;
}

long fault_count(void) { return counted; }

static int below(const char *path) {
    char whole[PATH_MAX];
    if (!armed || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        strncat(whole, "/", sizeof whole - strlen(whole) - 1);
        strncat(whole, path, sizeof whole - strlen(whole) - 1);
        path = whole;
    }
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int fd_below(int fd) {
    char path[PATH_MAX];
    return armed && path_of(fd, path) && below(path);
}

static int at_below(int fd, const char *name) {
    char path[PATH_MAX];
    if (!name || name[0] == '/' || fd == AT_FDCWD) return below(name);
    return fd_below(fd) || (path_of(fd, path) && below(path));
}

/* The errno of this call's fault; 0 if it has none. Does not return where the process is killed. */
static int fault(enum call call) {
    if (++counted != fault_at) return 0;
    switch (fault_kind) {
    case KILL: kill(getpid(), SIGKILL); for (;;) pause();
    case NO_SPACE: return call == OPEN || call == WRITE || call == SYNC || call == RENAME ? ENOSPC : 0;
    case IO_ERROR: return EIO;
    case NO_FILES: return call == OPEN ? EMFILE : 0;
    case INTERRUPTED: return call == OPEN || call == WRITE ? EINTR : 0;
    default: return 0;
    }
}

static int tears(void) { return counted == fault_at && fault_kind == TEAR; }

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FAIL(call) do { int error = fault(call); if (error) { errno = error; return -1; } } while (0)

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); } \
        if (!below(path)) return real(path, flags, mode); \
        FAIL(OPEN); \
        int result = real(path, flags, mode); \
        if (tears()) die(); \
        return result; \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); } \
        if (!at_below(at, path)) return real(at, path, flags, mode); \
        FAIL(OPEN); \
        int result = real(at, path, flags, mode); \
        if (tears()) die(); \
        return result; \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    if (!fd_below(fd)) return real(fd, data, length);
    FAIL(WRITE);
    if (tears()) { ssize_t half = real(fd, data, length / 2); (void)half; die(); }
    return real(fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    REAL(pwrite64);
    if (!fd_below(fd)) return real(fd, data, length, offset);
    FAIL(WRITE);
    if (tears()) { ssize_t half = real(fd, data, length / 2, offset); (void)half; die(); }
    return real(fd, data, length, offset);
}

#define SYNCS(name) \
    int name(int fd) { \
        REAL(name); \
        if (!fd_below(fd)) return real(fd); \
        FAIL(SYNC); \
        int result = real(fd); \
        if (tears()) die(); \
        return result; \
    }
SYNCS(fsync)
SYNCS(fdatasync)

int rename(const char *old, const char *new) {
    REAL(rename);
    if (!below(old) && !below(new)) return real(old, new);
    FAIL(RENAME);
    int result = real(old, new);
    if (tears()) die();
    return result;
}

int renameat(int from, const char *old, int to, const char *new) {
    REAL(renameat);
    if (!at_below(from, old) && !at_below(to, new)) return real(from, old, to, new);
    FAIL(RENAME);
    int result = real(from, old, to, new);
    if (tears()) die();
    return result;
}

int unlink(const char *path) {
    REAL(unlink);
    if (!below(path)) return real(path);
    FAIL(UNLINK);
    int result = real(path);
    if (tears()) die();
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    if (!at_below(at, path)) return real(at, path, flags);
    FAIL(UNLINK);
    int result = real(at, path, flags);
    if (tears()) die();
    return result;
}

int rmdir(const char *path) {
    REAL(rmdir);
    if (!below(path)) return real(path);
    FAIL(UNLINK);
    int result = real(path);
    if (tears()) die();
    return result;
}
