/* What a step of a build can do in an image without anything else. Static, so that it runs FROM scratch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "sleep")) {
        puts("sleeping");
        sleep(argc > 2 ? atoi(argv[2]) : 60);
        return 0;
    }
    if (!strcmp(what, "fail")) {
        puts("first line");
        puts("the reason");
        return 7;
    }
    /* secret PATH EXPECTED-LENGTH: shows it, which is what a careless script does. */
    if (!strcmp(what, "secret") && argc > 3) {
        char text[256] = "";
        FILE *file = fopen(argv[2], "r");
        if (!file) {
            perror(argv[2]);
            return 3;
        }
        size_t length = fread(text, 1, sizeof text - 1, file);
        printf("it is %s\n", text);
        file = fopen("/length", "w");
        if (!file) return 4;
        fprintf(file, "%zu\n", length);
        fclose(file);
        return length == (size_t)atoi(argv[3]) ? 0 : 5;
    }
    puts("hello");
    return 0;
}
