sendMessage(process.argv[2], process.argv[3]).then((message) => console.log(JSON.stringify(message)));
