#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/serve.h"

#define UNIX "unix:"

/* RFC 3986: what is not unreserved becomes %XX; slashes stay. Made with mem_alloc. */
static char *percent(const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    char *out = mem_alloc(3 * strlen(text) + 1), *to = out;
    for (; *text; text++) {
        if (strchr(plain, *text))
            *to++ = *text;
        else
            to += snprintf(to, 4, "%%%02X", (unsigned char)*text);
    }
    *to = '\0';
    return out;
}

PRINTF(1, 2) static char *text_of(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *out = mem_alloc((size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return out;
}

static const char *unix_path(const char *address)
{
    return strncmp(address, UNIX, strlen(UNIX)) == 0 ? address + strlen(UNIX) : NULL;
}

char *serve_uri(const char *address, const char *export_name)
{
    char *name = percent(export_name), *uri;
    const char *path = unix_path(address);
    if (path) {
        char *socket = percent(path);
        uri = text_of("nbd+unix:///%s?socket=%s", name, socket);
        mem_free(socket);
    } else
        uri = text_of("nbd://%s/%s", address, name);
    mem_free(name);
    return uri;
}

/* Single quotes where the shell would read anything into it. */
static char *quoted(const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:%=@+,";
    if (*text && strspn(text, plain) == strlen(text))
        return mem_strdup(text);
    char *out = mem_alloc(4 * strlen(text) + 3), *to = out;
    *to++ = '\'';
    for (; *text; text++) {
        if (*text == '\'')
            to += snprintf(to, 5, "'\\''");
        else
            *to++ = *text;
    }
    *to++ = '\'';
    *to = '\0';
    return out;
}

/* "-N NAME HOST PORT" or "-N NAME -unix PATH", as nbd-client 3.24 takes it. */
static char *nbd_client_arguments(const char *address, const char *export_name)
{
    char *name = quoted(export_name), *out;
    const char *path = unix_path(address), *colon = strrchr(address, ':');
    if (path) {
        char *socket = quoted(path);
        out = text_of("-unix %s -N %s", socket, name);
        mem_free(socket);
    } else {
        bool v6 = address[0] == '[';
        size_t host = (size_t)(colon - address) - (v6 ? 2 : 0);
        out = text_of("%.*s %s -N %s", (int)host, address + v6, colon + 1, name);
    }
    mem_free(name);
    return out;
}

static void print_for(const char *address, const char *export_name)
{
    char *uri = serve_uri(address, export_name), *shell_uri = quoted(uri),
         *arguments = nbd_client_arguments(address, export_name);
    printf("  %s\n\n", uri);
    printf("    kernel   sudo modprobe nbd; sudo nbd-client %s /dev/nbd0\n", arguments);
    printf("    qemu     qemu-img info %s\n", shell_uri);
    printf("             qemu-system-x86_64 -drive file=%s,format=raw,if=virtio\n", shell_uri);
    printf("    libnbd   nbdinfo %s\n", shell_uri);
    printf("             nbdcopy disk.img %s\n", shell_uri);
    mem_free(arguments);
    mem_free(shell_uri);
    mem_free(uri);
}

void serve_print_lines(const struct server *s, const char *export_name)
{
    printf("ashlar " ASHLAR_VERSION " serves\n\n");
    for (size_t i = 1; i < server_address_count(s); i++) {
        char *uri = serve_uri(server_address(s, i), export_name);
        printf("  %s\n", uri);
        mem_free(uri);
    }
    print_for(server_address(s, 0), export_name);
    if (strcmp(export_name, SERVE_ANY) == 0)
        printf("\n(" SERVE_ANY " is one of what ashlar ls shows.)\n");
    printf("\nCtrl-C ends it; what was written stays.\n");
    (void)fflush(stdout);
}

static bool write_all(int fd, const char *text)
{
    size_t bytes = strlen(text);
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            text += n;
            bytes -= (size_t)n;
        }
    }
    return true;
}

bool serve_tell_ready(int fd, const struct server *s)
{
    bool ok = true;
    for (size_t i = 0; i < server_address_count(s) && ok; i++) {
        char *uri = serve_uri(server_address(s, i), ""), *line = text_of("%s\n", uri);
        ok = write_all(fd, line);
        mem_free(line);
        mem_free(uri);
    }
    if (fd > STDERR_FILENO)
        close(fd);
    return ok;
}

bool serve_write_pid(const char *file)
{
    char *temporary = text_of("%s.new", file);
    FILE *f = fopen(temporary, "we");
    bool ok = f && fprintf(f, "%ld\n", (long)getpid()) > 0;
    if (f)
        ok = fclose(f) == 0 && ok;
    ok = ok && rename(temporary, file) == 0;
    mem_free(temporary);
    return ok;
}
