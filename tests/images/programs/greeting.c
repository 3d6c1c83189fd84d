const char *greeting(void)
{
    return "hello from a musl library";
}
