/*
 * Writes what it was given to the directory that the variable DUMP_DIR names, byte for byte:
 * argv and environ (each string ended by a NUL), cwd, and ids ("UID GID" and the supplementary
 * groups).
 */
#define _GNU_SOURCE
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static FILE *create(const char *directory, const char *name)
{
    char path[PATH_MAX];
    FILE *file;

    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
        exit(2);
    file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    return file;
}

static void finish(FILE *file)
{
    if (fclose(file) != 0) {
        perror("dump");
        exit(2);
    }
}

static void write_strings(const char *directory, const char *name, char **strings)
{
    FILE *file = create(directory, name);

    for (; *strings != NULL; strings++)
        fwrite(*strings, 1, strlen(*strings) + 1, file);
    finish(file);
}

static void write_cwd(const char *directory)
{
    FILE *file = create(directory, "cwd");
    char cwd[PATH_MAX];

    if (getcwd(cwd, sizeof cwd) == NULL)
        exit(2);
    fputs(cwd, file);
    finish(file);
}

static void write_ids(const char *directory)
{
    FILE *file = create(directory, "ids");
    gid_t groups[64];
    int i, count = getgroups(64, groups);

    fprintf(file, "%u %u", (unsigned)getuid(), (unsigned)getgid());
    for (i = 0; i < count; i++)
        fprintf(file, " %u", (unsigned)groups[i]);
    finish(file);
}

int main(int argc, char **argv)
{
    const char *directory = getenv("DUMP_DIR");

    (void)argc;
    if (directory == NULL) {
        fputs("dump: DUMP_DIR is not set\n", stderr);
        return 2;
    }
    write_strings(directory, "argv", argv);
    write_strings(directory, "environ", environ);
    write_cwd(directory);
    write_ids(directory);
    return 0;
}
