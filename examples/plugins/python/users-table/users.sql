-- sqlite3 users.db < users.sql
create table users (id integer primary key, name text, email text, changed integer, deleted integer default 0);
insert into users values (1, 'Ada', 'ada@example.com', 1, 0), (2, 'Bo', null, 2, 0), (3, 'Cy', 'cy@example.com', 3, 0);
