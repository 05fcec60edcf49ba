/* Records what a process does to the files below one directory.
 *
 * Loaded into the process by LD_PRELOAD. A filter of the kernel (seccomp) traps every system call that can
 * change a file, whoever makes it: the C library or, as some Rust libraries do, an inlined instruction that
 * no symbol stands for. The handler of the trap makes the call in the process's place and appends what it
 * did, with all bytes written, to the log. Both happen under one lock, so that the order of the log is the
 * order of what happened. Calls that concern other files pass through.
 *
 * UC_RECORD_ROOT: the directory, an absolute path. UC_RECORD_LOG: the log, outside of it.
 *
 * An entry of the log: kind u32, fd u32, number u64, length u64, then that many bytes; native byte order.
 * A call on the directory that is not understood is an entry of kind UNSUPPORTED, never silence.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>

enum kind {
    OPEN = 1,    /* fd, number: flags and below, bytes: path */
    WRITE,       /* fd, number: offset, bytes: what was written */
    SET_LEN,     /* fd, number: length */
    SYNC,        /* fd, number: 1 when only data */
    CLOSE,       /* fd */
    RENAME,      /* bytes: from, zero, to */
    UNLINK,      /* number: below, bytes: path */
    MKDIR,       /* number: below, bytes: path */
    RMDIR,       /* number: below, bytes: path */
    DUP,         /* fd, number: the new one */
    UNSUPPORTED, /* number: the system call */
};

/* "Below": 0 when the path is absolute, else, in the upper half, one more than the directory's fd. */
static uint64_t below(long dir, const char *path) {
    return path[0] == '/' ? 0 : (uint64_t)(dir + 1) << 32;
}

struct head {
    uint32_t kind, fd;
    uint64_t number, len;
};

#define FDS 1000
#define LOG_FD (FDS - 1)

static const char *root;
static size_t root_len;
static char tracked[FDS];
static int lock_word;

/* The one instruction that the filter lets through. */
long uc_raw(long nr, long a, long b, long c, long d, long e, long f);
extern char uc_raw_end[];
__asm__(".text\n"
        ".globl uc_raw\n"
        ".hidden uc_raw_end\n"
        ".globl uc_raw_end\n"
        ".type uc_raw, @function\n"
        "uc_raw:\n"
        "mov %rdi, %rax\n"
        "mov %rsi, %rdi\n"
        "mov %rdx, %rsi\n"
        "mov %rcx, %rdx\n"
        "mov %r8, %r10\n"
        "mov %r9, %r8\n"
        "mov 8(%rsp), %r9\n"
        "syscall\n"
        "uc_raw_end:\n"
        "ret\n");

static void take(void) {
    while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE))
        uc_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void give(void) { __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE); }

/* What cannot be recorded must not go on unnoticed. */
static void give_up(void) {
    for (;;) uc_raw(SYS_exit_group, 99, 0, 0, 0, 0, 0);
}

static void append(enum kind kind, long fd, uint64_t number, const struct iovec *parts, int count,
                   size_t len) {
    struct head head = {kind, (uint32_t)fd, number, len};
    struct iovec all[65];
    int n = 1;
    all[0] = (struct iovec){&head, sizeof head};
    for (int i = 0; i < count && len > 0; i++) {
        if (n == 65) give_up();
        all[n] = parts[i];
        if (all[n].iov_len > len) all[n].iov_len = len;
        len -= all[n++].iov_len;
    }
    long want = (long)(sizeof head + head.len);
    if (uc_raw(SYS_writev, LOG_FD, (long)all, n, 0, 0, 0) != want) give_up();
}

static void append_text(enum kind kind, long fd, uint64_t number, const char *text) {
    struct iovec part = {(void *)text, strlen(text)};
    append(kind, fd, number, &part, 1, part.iov_len);
}

static void append_number(enum kind kind, long fd, uint64_t number) {
    append(kind, fd, number, NULL, 0, 0);
}

static int is_tracked(long fd) { return fd >= 0 && fd < FDS && tracked[fd]; }

static int is_below(const char *path) {
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

/* Whether a path concerns the directory. The working directory is outside of it. */
static int concerns(long dir, const char *path) {
    return path[0] == '/' ? is_below(path) : is_tracked(dir);
}

static long do_open(long nr, long dir, long path, long flags, long mode) {
    take();
    long fd = nr == SYS_openat ? uc_raw(nr, dir, path, flags, mode, 0, 0)
                               : uc_raw(nr, path, flags, mode, 0, 0, 0);
    if (fd >= 0 && concerns(dir, (const char *)path)) {
        if (fd >= LOG_FD || (flags & O_TMPFILE) == O_TMPFILE)
            append_number(UNSUPPORTED, fd, (uint64_t)nr);
        else
            tracked[fd] = 1, append_text(OPEN, fd, (uint64_t)flags | below(dir, (const char *)path),
                                         (const char *)path);
    }
    give();
    return fd;
}

static long do_write(long nr, const long *a) {
    struct iovec one = {(void *)a[1], (size_t)a[2]};
    int is_vector = nr == SYS_writev || nr == SYS_pwritev || nr == SYS_pwritev2;
    const struct iovec *parts = is_vector ? (const struct iovec *)a[1] : &one;
    int count = is_vector ? (int)a[2] : 1;
    take();
    long done = uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (done > 0) {
        long at = a[3];
        if (nr == SYS_write || nr == SYS_writev)
            at = uc_raw(SYS_lseek, a[0], 0, SEEK_CUR, 0, 0, 0) - done;
        else if (uc_raw(SYS_fcntl, a[0], F_GETFL, 0, 0, 0, 0) & O_APPEND)
            append_number(UNSUPPORTED, a[0], (uint64_t)nr);
        append(WRITE, a[0], (uint64_t)at, parts, count, (size_t)done);
    }
    give();
    return done;
}

static long do_on_fd(long nr, const long *a) {
    take();
    long result = uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (nr == SYS_close) {
        tracked[a[0]] = 0;
        append_number(CLOSE, a[0], 0);
    } else if (nr == SYS_fcntl || nr == SYS_dup) {
        int is_dup = nr == SYS_dup || a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC;
        if (is_dup && result >= LOG_FD) give_up();
        if (is_dup && result >= 0) {
            tracked[result] = 1;
            append_number(DUP, a[0], (uint64_t)result);
        }
    } else if (result == 0 && nr == SYS_ftruncate) {
        append_number(SET_LEN, a[0], (uint64_t)a[1]);
    } else if (result == 0 && (nr == SYS_fsync || nr == SYS_fdatasync)) {
        append_number(SYNC, a[0], nr == SYS_fdatasync);
    } else if (result >= 0 && nr != SYS_ftruncate && nr != SYS_fsync && nr != SYS_fdatasync) {
        append_number(UNSUPPORTED, a[0], (uint64_t)nr);
    }
    give();
    return result;
}

static long do_rename(long nr, const long *a) {
    int is_at = nr != SYS_rename;
    const char *from = (const char *)(is_at ? a[1] : a[0]);
    const char *to = (const char *)(is_at ? a[3] : a[1]);
    take();
    long result = uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result == 0) {
        int of = concerns(is_at ? a[0] : AT_FDCWD, from);
        int into = concerns(is_at ? a[2] : AT_FDCWD, to);
        int is_plain = from[0] == '/' && to[0] == '/' && !(nr == SYS_renameat2 && (a[4] & ~1L));
        if (of != into || (of && !is_plain))
            append_number(UNSUPPORTED, 0, (uint64_t)nr);
        else if (of) {
            struct iovec parts[3] = {{(void *)from, strlen(from)}, {"", 1}, {(void *)to, strlen(to)}};
            append(RENAME, 0, 0, parts, 3, parts[0].iov_len + 1 + parts[2].iov_len);
        }
    }
    give();
    return result;
}

/* Calls with one path, which is argument `at`. */
static long do_on_path(long nr, const long *a, int at, enum kind kind) {
    take();
    long result = uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    long dir = at ? a[at - 1] : AT_FDCWD;
    const char *path = (const char *)a[at];
    if (result == 0 && concerns(dir, path))
        append_text(kind, 0, kind == UNSUPPORTED ? (uint64_t)nr : below(dir, path), path);
    give();
    return result;
}

static long handle(long nr, const long *a) {
    switch (nr) {
    case SYS_open: return do_open(nr, AT_FDCWD, a[0], a[1], a[2]);
    case SYS_creat: return do_open(SYS_open, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_openat: return do_open(nr, a[0], a[1], a[2], a[3]);
    case SYS_rename: case SYS_renameat: case SYS_renameat2: return do_rename(nr, a);
    case SYS_unlink: return do_on_path(nr, a, 0, UNLINK);
    case SYS_unlinkat: return do_on_path(nr, a, 1, a[2] & AT_REMOVEDIR ? RMDIR : UNLINK);
    case SYS_mkdir: return do_on_path(nr, a, 0, MKDIR);
    case SYS_mkdirat: return do_on_path(nr, a, 1, MKDIR);
    case SYS_rmdir: return do_on_path(nr, a, 0, RMDIR);
    case SYS_truncate: return do_on_path(nr, a, 0, UNSUPPORTED);
    case SYS_link: case SYS_symlink: return do_on_path(nr, a, 1, UNSUPPORTED);
    case SYS_symlinkat: return do_on_path(nr, a, 2, UNSUPPORTED);
    case SYS_linkat: return do_on_path(nr, a, 3, UNSUPPORTED);
    case SYS_mmap: {
        int shared = (a[3] & MAP_SHARED) && (a[2] & PROT_WRITE) && is_tracked(a[4]);
        if (shared) take(), append_number(UNSUPPORTED, a[4], (uint64_t)nr), give();
        return uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    case SYS_copy_file_range: {
        if (is_tracked(a[2])) take(), append_number(UNSUPPORTED, a[2], (uint64_t)nr), give();
        return uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    }
    /* The rest names a file by its first argument. */
    if (!is_tracked(a[0])) return uc_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    switch (nr) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2:
        return do_write(nr, a);
    }
    return do_on_fd(nr, a);
}

static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    long args[6] = {regs[REG_RDI], regs[REG_RSI], regs[REG_RDX],
                    regs[REG_R10], regs[REG_R8],  regs[REG_R9]};
    regs[REG_RAX] = handle(info->si_syscall, args);
}

static const int trapped[] = {
    SYS_open, SYS_creat, SYS_openat, SYS_rename, SYS_renameat, SYS_renameat2, SYS_unlink,
    SYS_unlinkat, SYS_mkdir, SYS_mkdirat, SYS_rmdir, SYS_truncate, SYS_link, SYS_symlink,
    SYS_linkat, SYS_symlinkat, SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2,
    SYS_close, SYS_fcntl, SYS_dup, SYS_dup2, SYS_dup3, SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_syncfs,
    SYS_sync_file_range, SYS_copy_file_range, SYS_sendfile, SYS_mmap,
};
#define TRAPPED (sizeof trapped / sizeof trapped[0])

static void install_filter(void) {
    struct sock_filter code[TRAPPED + 10];
    unsigned n = 0;
    uint64_t pass = (uint64_t)(uintptr_t)uc_raw_end;
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
    code[n++] = (struct sock_filter)LOAD(instruction_pointer);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)pass, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(
        BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(pass >> 32), 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)LOAD(nr);
    for (unsigned i = 0; i < TRAPPED; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)trapped[i],
                                                 (uint8_t)(TRAPPED - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        give_up();
}

__attribute__((constructor)) static void begin(void) {
    root = getenv("UC_RECORD_ROOT");
    const char *log = getenv("UC_RECORD_LOG");
    if (!root || !log) return;
    root_len = strlen(root);
    int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup3(fd, LOG_FD, O_CLOEXEC) != LOG_FD) give_up();
    struct sigaction action = {0};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGSYS, &action, NULL)) give_up();
    install_filter();
}
